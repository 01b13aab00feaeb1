import type { Admitted } from "../model/grant.ts";
import type { Channel, Channels } from "../model/names.ts";
import type { ClosingCode, RefusalCode } from "../model/refusal.ts";
import type { ApiKey, WsToken } from "../settings/credentials.ts";
import { knownChannels, realmsOf } from "../settings/realms.ts";
import type { ChannelRule } from "../settings/rules.ts";
import type { Settings } from "../settings/schema.ts";
import type { Selection } from "./channel-table.ts";
import { createGrantors, type Grantor, type Grantors } from "./grantors.ts";
import { longestAccessToken_seconds } from "./keycloak.ts";
import type { Revocations } from "./revocations.ts";
import { createSecrets, type Secrets } from "./secrets.ts";
import type { Claims } from "./tokens.ts";

export type AccessSettings = Pick<
  Settings,
  "api_keys" | "ws_tokens" | "require_bound_tokens" | "keycloak" | "channels" | "token_ttl_seconds"
>;

/** Who may come in, who may stay, and what a reload changes about it. */
export interface Access {
  readonly apiKeys: Secrets<ApiKey>;
  readonly wsTokens: Secrets<WsToken>;
  knows(channel: Channel): boolean;
  /** Whether websocket tokens through this WS token have to be bound to a user. */
  bindsToUser(wsToken: WsToken): boolean;
  /** The channel rules of a realm. Undefined: any channel, open to every user. */
  rulesOf(issuer: string): ReadonlyMap<Channel, ChannelRule> | undefined;
  /** The opaque id that websocket tokens carry which are granted through it. */
  idOf(grantor: Grantor): string;
  /** The grantor's name, as `ws_token NAME` or `realm NAME`; undefined: it is configured no more. */
  nameOf(via: string | null): string | undefined;
  /** These channels, all of which may be granted through it, in few bytes. */
  select(grantor: Grantor, channels: Channels): Selection;
  /** What the channel asked when the token was granted (null: nothing), or why the token does not allow it. */
  ruleFor(claims: Claims, channel: Channel): { readonly rule: string | null } | RefusalCode;
  /** Why what was granted is valid no more: revoked, or it would not be granted again. Undefined: it is. */
  objectionTo(admitted: Admitted): RefusalCode | undefined;
  /** The same for a connection that is open: how it has to end. */
  endingOf(admitted: Admitted): ClosingCode | undefined;
  /** API keys, WS tokens, `require_bound_tokens` and channel rules as they are now. All else stays as it was at the start. */
  reload(settings: AccessSettings): void;
  /** Whether a WS token has ended since it was last asked: what was issued before that was known may live on. */
  hasEnded(): boolean;
}

/** For rounding, and for slewing clocks. */
const reserve_seconds = 60;

/** How long a credential can live, counted from its revocation: so long that is kept. A realm's clock may be ahead of ours. */
export function longestCredential_ms({
  token_ttl_seconds,
  clock_tolerance_seconds,
}: Pick<Settings, "token_ttl_seconds" | "clock_tolerance_seconds">): number {
  const longest_seconds = Math.max(token_ttl_seconds, longestAccessToken_seconds + clock_tolerance_seconds);
  return (longest_seconds + reserve_seconds) * 1000;
}

/** @param secrets of the websocket tokens; the first signs. */
export function createAccess(
  settings: AccessSettings,
  options: { secrets: readonly [string, ...string[]]; revocations: Revocations; now: () => number },
): Access {
  const { revocations, now } = options;
  const apiKeys = createSecrets(settings.api_keys, now);
  const wsTokens = createSecrets(settings.ws_tokens, now);
  let current = rulesIn(settings);

  function rulesIn(given: AccessSettings, before?: Grantors) {
    return {
      channels: knownChannels(given),
      grantors: createGrantors(given, options, before?.tables),
      requiresBound: given.require_bound_tokens,
      ends_ms: given.ws_tokens.flatMap(({ expires_at }) => (expires_at === undefined ? [] : [expires_at.getTime()])),
      byIssuer: new Map(realmsOf(given).map(({ issuer, channels }) => [issuer, channels])),
    };
  }

  const knows = (channel: Channel): boolean => current.channels?.has(channel) ?? true;

  /** By its place in our order, and by that of its access token: one that died while a logout waited may have been used since. */
  function isEnded(admitted: Admitted): boolean {
    if (revocations.endsOwn(admitted)) return true;
    const { via, accessIssuedAt_ms: issuedAt_ms, user, session } = admitted;
    const issuer = current.grantors.issuerOf(via);
    if (issuer === undefined || issuedAt_ms === null) return false;
    return revocations.endsOfRealm({ user, session, issuer, issuedAt_ms });
  }

  return {
    apiKeys,
    wsTokens,
    knows,
    bindsToUser: (wsToken) => current.requiresBound || wsToken.require_bound_tokens,
    // A realm that a reload has taken out has no channel until the restart that ends it, instead of any.
    rulesOf: (issuer) => (current.byIssuer.has(issuer) ? current.byIssuer.get(issuer) : new Map()),
    idOf: (grantor) => current.grantors.idOf(grantor),
    nameOf: (via) => current.grantors.nameOf(via),
    select: (grantor, channels) => current.grantors.select(grantor, channels),
    ruleFor: (claims, channel) => (knows(channel) ? current.grantors.ruleFor(claims, channel) : "channel_forbidden"),
    objectionTo: (admitted) => (isEnded(admitted) ? "revoked" : current.grantors.objection(admitted)),
    endingOf(admitted) {
      if (isEnded(admitted) || !knows(admitted.channel)) return "revoked";
      const code = current.grantors.objection(admitted);
      if (code === undefined) return undefined;
      // A page that comes back with a new token may be granted it again; for the others there is nothing to come back for.
      return code === "token_expired" ? "token_expired" : "revoked";
    },
    reload(given) {
      apiKeys.replace(given.api_keys);
      wsTokens.replace(given.ws_tokens);
      current = rulesIn(given, current.grantors);
    },
    hasEnded() {
      const left_ms = current.ends_ms.filter((end_ms) => end_ms > now());
      const some = left_ms.length < current.ends_ms.length;
      current.ends_ms = left_ms;
      return some;
    },
  };
}
