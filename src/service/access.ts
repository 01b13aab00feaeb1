import { createAdmission, type Admit } from "../authorize/admission.ts";
import { createAuthorize, type Authorize } from "../authorize/authorize.ts";
import { createKeycloak } from "../authorize/keycloak.ts";
import { createRevocations, type Revocations } from "../authorize/revocations.ts";
import { createSecrets } from "../authorize/secrets.ts";
import { createTokens } from "../authorize/tokens.ts";
import type { History } from "../journal/journal.ts";
import type { Channel } from "../model/names.ts";
import type { Events } from "../observe/events.ts";
import type { Check } from "../observe/health.ts";
import type { ApiKey } from "../settings/credentials.ts";
import type { Settings } from "../settings/schema.ts";

/** Who may come in, and where. */
export interface Access {
  readonly authorize: Authorize;
  readonly admit: Admit;
  readonly findApiKey: (secret: string) => ApiKey | undefined;
  readonly knows: (channel: Channel) => boolean;
  readonly revocations: Revocations;
  readonly health: () => readonly Check[];
  start(): void;
  stop(): void;
}

export function createAccess(
  settings: Settings,
  options: { events: Events; now: () => number; history: History; revocations_ms: number },
): Access {
  const { events, now, history } = options;
  const knows = (channel: Channel) => settings.channels?.has(channel) ?? true;
  const revocations = createRevocations({ keep_ms: options.revocations_ms, now });
  for (const { user, before_ms } of history.revocations) revocations.revoke(user, before_ms);
  const tokens = createTokens({
    secrets: settings.token_secret.length > 0 ? settings.token_secret : [history.tokenSecret],
    ttl_seconds: settings.token_ttl_seconds,
    now,
  });
  const { issuer } = settings.keycloak;
  const keycloak =
    issuer === undefined
      ? undefined
      : createKeycloak({ ...settings.keycloak, issuer }, { now, onEvent: events.keysFetched });

  return {
    authorize: createAuthorize({
      findWsToken: createSecrets(settings.ws_tokens, now),
      verifyAccessToken: keycloak?.verify,
      isRevoked: revocations.isRevoked,
      issue: tokens.issue,
      requireBoundTokens: settings.require_bound_tokens,
      rules: settings.channels,
    }),
    admit: createAdmission({ verify: tokens.verify, isRevoked: revocations.isRevoked, knows }),
    findApiKey: createSecrets(settings.api_keys, now),
    knows,
    revocations,
    health: () => (keycloak === undefined ? [] : [{ name: "keycloak", ...keycloak.health() }]),
    start: () => void keycloak?.start(),
    stop: () => keycloak?.stop(),
  };
}
