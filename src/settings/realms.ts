import * as v from "valibot";
import { namePattern, nameRule, type Channel } from "../model/names.ts";
import { Algorithms, Audience, ChannelRules, type ChannelRule } from "./rules.ts";
import type { Settings } from "./schema.ts";
import { isTable, issuer, list, table, text, url, type Schema } from "./values.ts";

/** A Keycloak realm whose users may come. */
export interface Realm {
  readonly name: string;
  readonly issuer: string;
  readonly audience: string;
  readonly clients: readonly string[];
  readonly logout_clients: readonly string[];
  readonly jwks_url?: string;
  readonly algorithms: readonly string[];
  /** What its users may join; undefined: any channel. */
  readonly channels: ReadonlyMap<Channel, ChannelRule> | undefined;
}

export const ClientIds = list(text("must be a client id without spaces", /^\S{1,256}$/));
export const defaultAudience = "amper-channels";
export const defaultAlgorithms = ["RS256", "PS256", "ES256"] as const;

const RealmTable = table({
  issuer,
  audience: v.optional(Audience, defaultAudience),
  clients: v.optional(ClientIds, []),
  logout_clients: v.optional(ClientIds, []),
  jwks_url: v.exactOptional(url),
  algorithms: v.optional(Algorithms, defaultAlgorithms),
  // Not optional: the rules of another realm name that realm's roles, and `staff` here need not be `staff` there.
  channels: ChannelRules,
});

/** The name of the realm of `keycloak.issuer`, in logs and metrics. */
const first = "keycloak";

export const Realms: Schema<ReadonlyMap<string, v.InferOutput<typeof RealmTable>>> = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(isTable, "must be tables such as [keycloak.realms.partners]"),
  v.transform((tables) => new Map(Object.entries(tables))),
  v.map(
    v.pipe(
      v.string(),
      v.regex(namePattern, `must have a name of ${nameRule}`),
      v.check((name) => name !== first, `must not be called ${first}: that is the realm of keycloak.issuer`),
    ),
    RealmTable,
  ),
);

/** All realms: that of `keycloak.issuer`, which goes by the rules of `channels`, and the others. */
export function realmsOf({ keycloak, channels }: Settings): readonly Realm[] {
  const { realms, issuer: firstIssuer, ...rest } = keycloak;
  const others = Array.from(realms, ([name, realm]) => ({ name, ...realm }));
  return firstIssuer === undefined ? others : [{ name: first, issuer: firstIssuer, ...rest, channels }, ...others];
}

/** Two realms of one issuer would leave open whose rules count. */
export function repeatedIssuers(settings: Settings): string[] {
  const seen = new Map<string, string>();
  return realmsOf(settings).flatMap(({ name, issuer: given }) => {
    const before = seen.get(given);
    seen.set(given, before ?? name);
    return before === undefined ? [] : [`keycloak.realms.${name} has the same issuer as the realm ${before}`];
  });
}

/** Every channel that some rule names; undefined: any name will do. */
export function knownChannels(settings: Settings): ReadonlySet<Channel> | undefined {
  if (settings.channels === undefined) return undefined;
  const others = Array.from(settings.keycloak.realms.values(), ({ channels }) => channels);
  return new Set([settings.channels, ...others].flatMap((rules) => Array.from(rules.keys())));
}
