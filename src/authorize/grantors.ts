import { createHmac } from "node:crypto";
import { sha256 } from "../model/digest.ts";
import type { Admitted } from "../model/grant.ts";
import { allows, type Channel, type Channels } from "../model/names.ts";
import type { RefusalCode } from "../model/refusal.ts";
import { realmsOf } from "../settings/realms.ts";
import { writtenRole } from "../settings/roles.ts";
import type { ChannelRule } from "../settings/rules.ts";
import type { Settings } from "../settings/schema.ts";
import { ruleOf, select as selectFrom, tableOf, type ChannelTable, type Selection } from "./channel-table.ts";
import type { Claims } from "./tokens.ts";

/** What websocket tokens are granted through: a WS token (`ws_token DIGEST`), or a realm (`realm ISSUER`). */
export type Grantor = `ws_token ${string}` | `realm ${string}`;

/** On what terms something may be granted through it now. */
interface Terms {
  /** `ws_token NAME` or `realm NAME`. */
  readonly name: string;
  readonly channels: Channels;
  /** Of the channels that ask something of a user, what they ask. */
  readonly rules: ReadonlyMap<Channel, string>;
  /** Only to a user who is named in the token. */
  readonly boundOnly: boolean;
  readonly notAfter_ms: number;
  /** Undefined: any channel may be granted. */
  readonly table: ChannelTable | undefined;
}

export interface Grantors {
  /** Its opaque id, which the websocket tokens carry that are granted through it. */
  idOf(grantor: Grantor): string;
  /** As people know it; undefined: it is configured no more. */
  nameOf(via: string | null): string | undefined;
  /** Why something that was granted would not be granted any more; undefined: it would. */
  objection(granted: Pick<Admitted, "via" | "channel" | "rule" | "isBound">): RefusalCode | undefined;
  /** These channels in few bytes. All of them may be granted through it. */
  select(grantor: Grantor, channels: Channels): Selection;
  /** What the channel asked when the token was granted (null: nothing), or why the token does not allow it. */
  ruleFor(claims: Granted, channel: Channel): { readonly rule: string | null } | RefusalCode;
  /** The realm that it was granted through; undefined: no realm. */
  issuerOf(via: string | null): string | undefined;
  readonly tables: ReadonlyMap<string, ChannelTable>;
}

type Granted = Pick<Claims, "via" | "channels" | "rules" | "selection">;

/** Of earlier settings: tokens that select from a table live on when it has changed, until they expire. */
const mostFormerTables = 100;

type GrantorSettings = Pick<Settings, "ws_tokens" | "require_bound_tokens" | "keycloak" | "channels">;

/**
 * The grantors that are configured, by id: what was granted is valid only as long as it would be granted still. Ids are made
 * with the secret of the websocket tokens, because pages see them: from a plain digest of a weak WS token they could find the
 * token out.
 *
 * @param secrets as for websocket tokens: those that a former first one signed carry ids that were made with it.
 */
export function createGrantors(
  settings: GrantorSettings,
  { secrets, now }: { secrets: readonly [string, ...string[]]; now: () => number },
  former: ReadonlyMap<string, ChannelTable> = new Map(),
): Grantors {
  const grantors = grantorsIn(settings);
  const byName = new Map(grantors);
  const current = grantors.flatMap(([, { table }]) => (table === undefined ? [] : [[table.id, table] as const]));
  const tables = new Map([...[...former].slice(-mostFormerTables), ...current]);
  const byId = new Map(
    secrets.flatMap((secret) => grantors.map(([grantor, terms]) => [idWith(secret, grantor), terms] as const)),
  );

  function objection({ via, channel, rule, isBound }: Parameters<Grantors["objection"]>[0]): RefusalCode | undefined {
    if (via === null) return undefined;
    const terms = byId.get(via);
    if (terms === undefined || terms.notAfter_ms <= now() || (terms.boundOnly && !isBound)) return "revoked";
    if (!allows(terms.channels, channel)) return "channel_forbidden";
    // Granted when the channel asked something else, or nothing: whether it would be again, a new token tells.
    const asked = terms.rules.get(channel);
    return asked === undefined || asked === rule ? undefined : "token_expired";
  }

  function select(grantor: Grantor, channels: Channels): Selection {
    const table = byName.get(grantor)?.table;
    if (table === undefined || channels === "*") throw new Error("all channels need no selection");
    return selectFrom(table, channels);
  }

  function ruleFor({ via, channels, rules, selection }: Granted, channel: Channel): ReturnType<Grantors["ruleFor"]> {
    if (selection === undefined) {
      if (!allows(channels, channel)) return "channel_forbidden";
      return { rule: rules.find(([of]) => of === channel)?.[1] ?? null };
    }
    const table = tables.get(selection.of);
    // The settings have changed since, and the process was started anew: what was granted, nobody knows any more.
    if (table === undefined) return byId.has(via ?? "") ? "token_expired" : "revoked";
    const rule = ruleOf(table, selection, channel);
    return rule === undefined ? "channel_forbidden" : { rule };
  }

  const issuers = new Map(
    secrets.flatMap((secret) =>
      realmsOf(settings).map(({ issuer }) => [idWith(secret, `realm ${issuer}`), issuer] as const),
    ),
  );

  return {
    issuerOf: (via) => (via === null ? undefined : issuers.get(via)),
    nameOf: (via) => byId.get(via ?? "")?.name,
    idOf: (grantor) => idWith(secrets[0], grantor),
    objection,
    select,
    ruleFor,
    tables,
  };
}

function grantorsIn(settings: GrantorSettings): [Grantor, Terms][] {
  const wsTokens = settings.ws_tokens.map((wsToken): [Grantor, Terms] => [
    `ws_token ${wsToken.sha256}`,
    {
      name: `ws_token ${wsToken.name}`,
      channels: wsToken.channels,
      rules: new Map(),
      boundOnly: settings.require_bound_tokens || wsToken.require_bound_tokens,
      notAfter_ms: wsToken.expires_at?.getTime() ?? Infinity,
      table: wsToken.channels === "*" ? undefined : tableOf(wsToken.channels, new Map()),
    },
  ]);
  const realms = realmsOf(settings).map(({ name, issuer, channels }): [Grantor, Terms] => {
    const rules = new Map(ruleIds(channels ?? []));
    const names = channels === undefined ? undefined : Array.from(channels.keys());
    const table = names && tableOf(names, rules);
    return [
      `realm ${issuer}`,
      { name: `realm ${name}`, channels: names ?? "*", rules, boundOnly: true, notAfter_ms: Infinity, table },
    ];
  });
  return [...wsTokens, ...realms];
}

function idWith(secret: string, grantor: Grantor): string {
  return createHmac("sha256", secret).update(grantor).digest("base64url").slice(0, 16);
}

/** Of the channels that ask something of a user, what they ask. */
export function ruleIds(rules: Iterable<readonly [Channel, ChannelRule]>): [Channel, string][] {
  return Array.from(rules).flatMap(([channel, rule]): [Channel, string][] => {
    const id = ruleId(rule);
    return id === undefined ? [] : [[channel, id]];
  });
}

/** Asked at each /authorize, for each channel; rules are made once, with the settings. */
const made = new WeakMap<ChannelRule, string>();

/** As a digest, so that tokens stay short; undefined: nothing. */
function ruleId(rule: ChannelRule): string | undefined {
  const { roles, clients } = rule;
  if (roles.length === 0 && clients.length === 0) return undefined;
  const before = made.get(rule);
  if (before !== undefined) return before;
  const asked = [roles.map(writtenRole).toSorted(), clients.toSorted()];
  const id = sha256(JSON.stringify(asked), "base64url").slice(0, 10);
  made.set(rule, id);
  return id;
}
