import { createAdmission, type Admit } from "../authorize/admission.ts";
import { createAuthorize, type Authorize } from "../authorize/authorize.ts";
import { createGrantors, ruleIds, type Grantor, type Terms } from "../authorize/grantors.ts";
import { createKeycloak, longestAccessToken_seconds } from "../authorize/keycloak.ts";
import { createRealms, type NamedRealm, type Realms } from "../authorize/realms.ts";
import { createSecrets, type Secrets } from "../authorize/secrets.ts";
import { createTokens } from "../authorize/tokens.ts";
import type { History } from "../journal/journal.ts";
import type { Admitted } from "../model/grant.ts";
import type { Channel } from "../model/names.ts";
import type { ClosingCode } from "../model/refusal.ts";
import type { Events } from "../observe/events.ts";
import type { Check } from "../observe/health.ts";
import { createRevocations, type Revocations } from "../revocations/revocations.ts";
import type { ApiKey } from "../settings/credentials.ts";
import { knownChannels, realmsOf } from "../settings/realms.ts";
import type { Settings } from "../settings/schema.ts";
import type { Limits } from "./limits.ts";

/** Who may come in, and where. */
export interface Access {
  readonly authorize: Authorize;
  readonly admit: Admit;
  readonly apiKeys: Secrets<ApiKey>;
  readonly knows: (channel: Channel) => boolean;
  readonly revocations: Revocations;
  /** What it rests on was taken away: its user or session was revoked, or it would not be granted any more. */
  readonly endingOf: (admitted: Admitted) => ClosingCode | undefined;
  /** Undefined where no realm is configured. */
  readonly verifyLogout: Realms["verifyLogout"] | undefined;
  readonly health: () => readonly Check[];
  /** How old the keys of each realm are. */
  readonly realms: () => readonly { readonly name: string; readonly age_seconds: number | undefined }[];
  /** API keys, WS tokens, `require_bound_tokens` and channel rules as they are now. All else stays as it was at the start. */
  reload(settings: Settings): void;
  /** Whether a WS token has ended since it was last asked: what was issued before that was known may live on. */
  hasEnded(): boolean;
  start(): void;
  stop(): void;
}

const tolerance_seconds = 60;

/** How long a credential can live: so long a revocation is kept. */
export function longestCredential_ms({ token_ttl_seconds }: Settings): number {
  return (Math.max(token_ttl_seconds, longestAccessToken_seconds) + tolerance_seconds) * 1000;
}

function grantorsIn(settings: Settings): ReadonlyMap<Grantor, Terms> {
  const wsTokens = settings.ws_tokens.map((wsToken): [Grantor, Terms] => [
    `ws_token ${wsToken.sha256}`,
    {
      channels: wsToken.channels,
      rules: new Map(),
      boundOnly: settings.require_bound_tokens || wsToken.require_bound_tokens,
      notAfter_ms: wsToken.expires_at?.getTime() ?? Infinity,
    },
  ]);
  const realms = realmsOf(settings).map(({ issuer, channels }): [Grantor, Terms] => [
    `realm ${issuer}`,
    {
      channels: channels === undefined ? "*" : Array.from(channels.keys()),
      rules: new Map(ruleIds(channels ?? [])),
      boundOnly: true,
      notAfter_ms: Infinity,
    },
  ]);
  return new Map([...wsTokens, ...realms]);
}

export function createAccess(
  settings: Settings,
  options: { events: Events; now: () => number; history: History; limits: Limits },
): Access {
  const { events, now, history } = options;
  const [first = history.tokenSecret, ...others] = settings.token_secret;
  const tokens = createTokens({ secrets: [first, ...others], ttl_seconds: settings.token_ttl_seconds, now });
  const revocations = createRevocations({ keep_ms: longestCredential_ms(settings), now });
  for (const revoked of history.revocations) revocations.add(revoked, revoked.time_ms);
  const realms = openRealms();
  let current = configure(settings);

  function configure(given: Settings) {
    const channels = knownChannels(given);
    return {
      apiKeys: createSecrets(given.api_keys, now),
      wsTokens: createSecrets(given.ws_tokens, now),
      grantors: createGrantors(grantorsIn(given), { secrets: [first, ...others], now }),
      knows: (channel: Channel) => channels?.has(channel) ?? true,
      requiresBoundTokens: given.require_bound_tokens,
      ends_ms: given.ws_tokens.flatMap(({ expires_at }) => (expires_at === undefined ? [] : [expires_at.getTime()])),
      rules: new Map(realmsOf(given).map(({ issuer, channels: own }) => [issuer, own])),
    };
  }

  function openRealms(): Realms | undefined {
    const [one, ...more] = realmsOf(settings).map((realm): NamedRealm => {
      const { name, issuer } = realm;
      const onEvent = events.keysFetched(name);
      return { name, issuer, keycloak: createKeycloak(realm, { now, onEvent }) };
    });
    return one && createRealms([one, ...more]);
  }

  const names = new Map(realmsOf(settings).map(({ issuer, name }) => [issuer, name]));
  const knows = (channel: Channel) => current.knows(channel);
  const objection = (admitted: Admitted) => current.grantors.objection(admitted);

  function endingOf(admitted: Admitted): ClosingCode | undefined {
    if (revocations.isRevoked(admitted) || !knows(admitted.channel)) return "revoked";
    const code = objection(admitted);
    if (code === undefined) return undefined;
    // Who comes back with a new token may be granted it again; for the others there is nothing to come back for.
    return code === "token_expired" ? "token_expired" : "revoked";
  }

  /** One realm that cannot be reached keeps its own users out, and nobody else. */
  function health(): readonly Check[] {
    const all = realms?.health() ?? [];
    const isUseless = all.every(({ status }) => status === "unavailable");
    return all.map(({ name, status, reason }) => ({
      name,
      status: status === "unavailable" && !isUseless ? "degraded" : status,
      reason,
    }));
  }

  return {
    authorize: createAuthorize({
      wsTokens: {
        find: (secret) => current.wsTokens.find(secret),
        hasExpired: (secret) => current.wsTokens.hasExpired(secret),
      },
      limitRate: options.limits.gate.frontService,
      idOf: (grantor) => current.grantors.idOf(grantor),
      verifyAccessToken: realms?.verify,
      isRevoked: revocations.isRevoked,
      deadUpTo_ms: revocations.deadUpTo_ms,
      issue: tokens.issue,
      requiresBoundTokens: () => current.requiresBoundTokens,
      onAuthorized(through, user) {
        const name = "issuer" in through ? `realm ${names.get(through.issuer)}` : `ws_token ${through.wsToken}`;
        events.authorized(name, user);
      },
      // One that a reload has taken out has no channel until the restart that ends it, instead of any.
      rulesOf: (issuer) => (current.rules.has(issuer) ? current.rules.get(issuer) : new Map()),
    }),
    admit: createAdmission({ verify: tokens.verify, isRevoked: revocations.isRevoked, objection, knows }),
    apiKeys: {
      find: (secret) => current.apiKeys.find(secret),
      hasExpired: (secret) => current.apiKeys.hasExpired(secret),
    },
    knows,
    revocations,
    endingOf,
    verifyLogout: realms?.verifyLogout,
    health,
    realms: () =>
      (realms?.health() ?? []).map(({ name, fetchedAt_ms }) => ({
        name,
        age_seconds: fetchedAt_ms === undefined ? undefined : (now() - fetchedAt_ms) / 1000,
      })),
    reload: (given) => void (current = configure(given)),
    hasEnded() {
      const left_ms = current.ends_ms.filter((end_ms) => end_ms > now());
      const some = left_ms.length < current.ends_ms.length;
      current.ends_ms = left_ms;
      return some;
    },
    start: () => realms?.start(),
    stop: () => realms?.stop(),
  };
}
