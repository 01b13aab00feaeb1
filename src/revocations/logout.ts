import type { Revoked } from "../model/entry.ts";
import type { KeycloakId, SessionId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";

/** A verified logout token. */
export interface LogoutToken {
  readonly issuer: string;
  readonly user: KeycloakId | null;
  readonly session: SessionId | null;
  readonly issuedAt_ms: number;
  readonly id: string;
}

export interface LogoutNeeds {
  /** Undefined where no realm is configured. Throws `logout_token_invalid`, or `unavailable`. */
  readonly verify: ((token: string) => Promise<LogoutToken>) | undefined;
  readonly revoke: (revoked: Revoked) => Promise<number>;
  /** How long a logout token can be good. */
  readonly longest_ms: number;
  readonly now: () => number;
  readonly onLogout: (logout: LogoutToken, connections: number, requestId: string) => void;
}

const mostRemembered = 100_000;

/**
 * `POST /backchannel-logout` (OpenID Connect Back-Channel Logout 1.0). A `sid` ends that Keycloak session; without one, `sub`
 * ends all of the user's.
 */
export function createLogout(needs: LogoutNeeds): (body: string, requestId: string) => Promise<void> {
  const { revoke, now } = needs;
  /** Those that were taken, in order: a repeated one must not end what the user has opened since. */
  const taken = new Map<string, number>();

  return async function logout(body, requestId) {
    if (needs.verify === undefined) throw new Problem("not_found", { detail: "No Keycloak realm is configured." });
    const token = await needs.verify(tokenIn(body));
    if (isRepeated(token)) return;
    needs.onLogout(token, await revoke(revokedBy(token)), requestId);
  };

  function isRepeated({ issuer, id }: LogoutToken): boolean {
    const name = `${issuer} ${id}`;
    if (taken.has(name)) return true;
    taken.set(name, now());
    for (const [oldest, time_ms] of taken) {
      if (taken.size <= mostRemembered && time_ms >= now() - needs.longest_ms) break;
      taken.delete(oldest);
    }
    return false;
  }

  function revokedBy({ user, session, issuedAt_ms }: LogoutToken): Revoked {
    if (session !== null) return { session };
    if (user === null) throw new Error("a logout token has a user or a session");
    // The later one, whichever clock is ahead: what the realm issued before the logout must not pass for newer.
    return { user, before_ms: Math.max(now(), issuedAt_ms) };
  }
}

/** Section 2.5: `application/x-www-form-urlencoded`, with one `logout_token`. */
function tokenIn(body: string): string {
  const [token, ...others] = new URLSearchParams(body).getAll("logout_token");
  if (token !== undefined && token !== "" && others.length === 0) return token;
  const detail = "Send one `logout_token` in a form (application/x-www-form-urlencoded).";
  const members = { error: "invalid_request", error_description: detail };
  throw new Problem("logout_token_invalid", { detail, guess: false, members });
}
