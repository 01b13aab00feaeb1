import * as v from "valibot";
import { Channel, namePattern, nameRule } from "../model/names.ts";
import { safe, type Doubt } from "./messages.ts";
import { doubtsAboutRoles, Roles, tablesIn, writtenRole } from "./roles.ts";
import { isTable, optional, setting, table } from "./setting.ts";
import { issuer, list, text, url, type Schema } from "./values.ts";

const clientId = text("must be a name without spaces", /^\S{1,256}$/);

/** A list is empty when a template's variable is, and would open the channel to everybody. */
function notEmpty<T>(schema: Schema<readonly T[]>): Schema<readonly T[]> {
  return v.pipe(
    schema,
    v.check((given) => given.length > 0, "must name one, or be left out: then it asks for none"),
  );
}

/** The users that a channel admits: those with one of the roles, logged in through one of the clients; empty: any. */
const ChannelRule = v.pipe(
  table({ roles: v.exactOptional(notEmpty(Roles)), clients: v.exactOptional(notEmpty(list(clientId))) }),
  v.transform(({ roles = [], clients = [] }) => ({ roles, clients })),
  v.readonly(),
);
export type ChannelRule = v.InferOutput<typeof ChannelRule>;

const mostChannels = 10_000;

export const ChannelRules: Schema<ReadonlyMap<Channel, ChannelRule>> = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(isTable, "must be tables such as [channels.msf]"),
  v.check((tables) => Object.keys(tables).length > 0, "must name a channel, or be left out"),
  // A websocket token has a bit for each of them.
  v.check((tables) => Object.keys(tables).length <= mostChannels, `must name at most ${mostChannels} channels`),
  v.transform((tables) => new Map(Object.entries(tables))),
  v.map(v.pipe(v.string(), v.regex(namePattern, `must have ${nameRule}`), Channel), ChannelRule),
);

export function showChannelRules(rules: ReadonlyMap<Channel, ChannelRule>): string {
  const shown = Array.from(rules, ([name, { roles, clients }]) => {
    const needs = [
      ...(roles.length > 0 ? [`roles ${roles.map(writtenRole).join(" ")}`] : []),
      ...(clients.length > 0 ? [`clients ${clients.join(" ")}`] : []),
    ];
    return `${name} (${needs.length === 0 ? "open to every user" : needs.join(", ")})`;
  });
  return safe(shown.join(", "), 1000);
}

const algorithms = [
  ...(["RS256", "RS384", "RS512"] as const),
  ...(["PS256", "PS384", "PS512"] as const),
  ...(["ES256", "ES384", "ES512", "EdDSA"] as const),
] as const;
const algorithmRule = `must be out of ${algorithms.join(" ")}`;

const Algorithms = v.pipe(
  list(v.picklist(algorithms, algorithmRule)),
  v.check((given) => given.length > 0, algorithmRule),
);
const defaultAlgorithms = ["RS256", "PS256", "ES256"] as const;

/** Every Keycloak token has `account` in its `aud`: that audience would admit the tokens of every client of the realm. */
const Audience = v.pipe(
  text("must be a text without spaces", /^\S{1,256}$/),
  v.check((audience) => audience !== "account", "must not be account, which is in every token of the realm"),
);
const defaultAudience = "amper-channels";

const ClientIds = list(text("must be a client id without spaces", /^\S{1,256}$/));

const RealmTable = table({
  issuer,
  audience: v.optional(Audience, defaultAudience),
  clients: v.optional(ClientIds, []),
  logout_clients: v.optional(ClientIds, []),
  jwks_url: v.exactOptional(url),
  algorithms: v.optional(Algorithms, defaultAlgorithms),
  // Required: the rules of `channels` name roles of the first realm, and `staff` there need not be `staff` here.
  channels: ChannelRules,
});
export type RealmTable = Readonly<v.InferOutput<typeof RealmTable>>;

/** The realm of `keycloak.issuer`, as logs and metrics name it. */
export const firstRealm = "keycloak";

const Realms: Schema<ReadonlyMap<string, RealmTable>> = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(isTable, "must be tables such as [keycloak.realms.partners]"),
  v.transform((tables) => new Map(Object.entries(tables))),
  v.map(
    v.pipe(
      v.string(),
      v.regex(namePattern, `must have a name of ${nameRule}`),
      v.check((name) => name !== firstRealm, `must not be called ${firstRealm}: that is the realm of keycloak.issuer`),
    ),
    RealmTable,
  ),
);

function showRealms(realms: ReadonlyMap<string, RealmTable>): string {
  const shown = Array.from(realms, ([name, realm]) => `${name} (${realm.issuer}; ${showChannelRules(realm.channels)})`);
  return safe(shown.join(", "), 1000);
}

/** The settings `keycloak.…`. */
export const keycloak = v.pipe(
  v.object({
    issuer: optional(issuer, {
      description: "issuer of access tokens: https://HOST/realms/REALM",
      public: true,
      doubts: doubtsAboutUrl,
    }),
    audience: setting(Audience, defaultAudience, {
      description: "audience that every access token must name (aud)",
      public: true,
    }),
    clients: setting(ClientIds, [], {
      description: "clients whose access tokens are accepted (azp); none: every client",
      public: true,
      list: true,
    }),
    logout_clients: setting(ClientIds, [], {
      description: "clients whose back-channel logout tokens are accepted (aud); none: those of keycloak.clients",
      public: true,
      list: true,
    }),
    jwks_url: optional(url, {
      description: "URL of the realm's signing keys; none: the URL that discovery names",
      public: true,
      doubts: doubtsAboutUrl,
    }),
    algorithms: setting(Algorithms, defaultAlgorithms, {
      description: "accepted signature algorithms of Keycloak tokens",
      public: true,
      list: true,
    }),
    realms: setting(
      Realms,
      {},
      {
        description:
          "[keycloak.realms.NAME]: more realms, each with its issuer and channels, and the other keycloak settings",
        public: true,
        fileOnly: true,
        show: showRealms,
        doubts: doubtsAboutRealms,
      },
    ),
  }),
  v.readonly(),
);

/** One warning for each realm whose keys can be replaced on their way, and those about its rules. */
function doubtsAboutRealms(realms: ReadonlyMap<string, RealmTable>, given: unknown): Doubt[] {
  const unsafe = Array.from(realms).flatMap(([name, realm]) =>
    [realm.issuer, realm.jwks_url ?? realm.issuer]
      .flatMap(doubtsAboutUrl)
      .slice(0, 1)
      .map(({ doubt }) => ({ place: [name], doubt })),
  );
  const unclear = tablesIn(given).flatMap(([name, { channels }]) =>
    doubtsAboutRoles(channels).map(({ place, doubt }) => ({ place: [name, "channels", ...place], doubt })),
  );
  return [...unsafe, ...unclear];
}

/** A warning about a URL whose answers cross a network in the clear. */
function doubtsAboutUrl(written: string): readonly Doubt[] {
  const { protocol, hostname } = new URL(written);
  const isOnThisMachine = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  if (protocol === "https:" || isOnThisMachine) return [];
  return [{ place: [], doubt: "is not https: whoever is on the way can forge users" }];
}
