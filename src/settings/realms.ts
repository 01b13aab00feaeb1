import type { Channel, Channels } from "../model/names.ts";
import { didYouMean } from "./messages.ts";
import { firstRealm, type ChannelRule, type RealmTable } from "./rules.ts";
import type { Settings } from "./schema.ts";

/** A Keycloak realm whose users may connect. */
export interface Realm extends Omit<RealmTable, "channels"> {
  readonly name: string;
  /** The channels that its users may join; undefined: any channel. */
  readonly channels: ReadonlyMap<Channel, ChannelRule> | undefined;
}

/** What says which realms there are. */
export type RealmSettings = Pick<Settings, "keycloak" | "channels">;

/** The realm of `keycloak.issuer`, which has the rules of `channels`, and after it the realms of `keycloak.realms`. */
export function realmsOf({ keycloak, channels }: RealmSettings): readonly Realm[] {
  const { realms, issuer, ...rest } = keycloak;
  const others = Array.from(realms, ([name, realm]) => ({ name, ...realm }));
  return issuer === undefined ? others : [{ name: firstRealm, issuer, ...rest, channels }, ...others];
}

/** Problems: with two realms of one issuer, a token would not tell whose rules it has to meet. */
export function repeatedIssuers(settings: Settings): string[] {
  const seen = new Map<string, string>();
  return realmsOf(settings).flatMap(({ name, issuer }) => {
    const before = seen.get(issuer);
    seen.set(issuer, before ?? name);
    return before === undefined ? [] : [`keycloak.realms.${name} has the same issuer as the realm ${before}`];
  });
}

/** Every channel that a rule names; undefined: any channel name is allowed. */
export function knownChannels(settings: RealmSettings): ReadonlySet<Channel> | undefined {
  if (settings.channels === undefined) return undefined;
  const others = Array.from(settings.keycloak.realms.values(), ({ channels }) => channels);
  return new Set([settings.channels, ...others].flatMap((rules) => Array.from(rules.keys())));
}

/** Warnings about keys and tokens for channels that no rule names. */
export function unknownChannels(settings: Settings): string[] {
  const known = knownChannels(settings);
  if (known === undefined) return [];
  const doubtsIn = (table: string, credentials: readonly { readonly name: string; readonly channels: Channels }[]) =>
    credentials.flatMap(({ name, channels }) =>
      (channels === "*" ? [] : channels)
        .filter((channel) => !known.has(channel))
        .map((channel) => {
          const hint = didYouMean(channel, [...known]);
          return `${table}.${name}.channels names ${channel}, which is no channel${hint}`;
        }),
    );
  return [...doubtsIn("api_keys", settings.api_keys), ...doubtsIn("ws_tokens", settings.ws_tokens)];
}
