import type { Revoked } from "../model/entry.ts";
import type { LogoutToken } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";

export interface LogoutNeeds {
  /** Undefined where no realm is configured. Throws `logout_token_invalid`, or `unavailable`. */
  readonly verify: ((token: string, at_ms: number) => Promise<LogoutToken>) | undefined;
  readonly revoke: (revoked: Revoked) => Promise<{ readonly connections: number }>;
  /** How long a logout token can be good. */
  readonly longest_ms: number;
  readonly now: () => number;
  readonly retry_ms?: number;
  readonly onLogout: (logout: LogoutToken, connections: number, requestId: string) => void;
}

/** As it came. */
interface Request {
  readonly token: string;
  readonly at_ms: number;
  readonly requestId: string;
}

const mostRemembered = 100_000;
/** Of at most 16 KiB each, and anybody's: nothing is known of them yet. */
const mostWaiting = 1000;
/** By then every key that there was when it came has been looked for: twice the cool-down between two looks. */
const untilLookedFor_ms = 60_000;

/**
 * `POST /backchannel-logout` (OpenID Connect Back-Channel Logout 1.0). A `sid` ends that Keycloak session; without one, `sub`
 * ends all of the user's.
 */
export function createLogout(needs: LogoutNeeds): (body: string, requestId: string) => Promise<void> {
  const { revoke, now, retry_ms = 2000 } = needs;
  /** Those that were taken, in order: a repeated one must not end what the user has opened since. */
  const taken = new Map<string, number>();
  let waiting = 0;

  return async function logout(body, requestId) {
    if (needs.verify === undefined) throw new Problem("not_found", { detail: "No Keycloak realm is configured." });
    await take({ token: tokenIn(body), at_ms: now(), requestId }, needs.verify);
  };

  async function take(request: Request, verify: NonNullable<LogoutNeeds["verify"]>): Promise<void> {
    try {
      const token = await verify(request.token, request.at_ms);
      if (isRepeated(token)) return;
      const { connections } = await revoke(revokedBy(token, request.at_ms));
      needs.onLogout(token, connections, request.requestId);
    } catch (error) {
      if (error instanceof Problem && error.code === "unavailable") keep(request, verify, needs.longest_ms);
      else if (error instanceof Problem && error.extras.mayPass === true) keep(request, verify, untilLookedFor_ms);
      throw error;
    }
  }

  /** Keycloak sends a logout once, whatever the answer: one that cannot be verified now is kept until it can. */
  function keep(request: Request, verify: NonNullable<LogoutNeeds["verify"]>, atMost_ms: number): void {
    if (waiting >= mostWaiting || now() - request.at_ms > atMost_ms) return;
    waiting++;
    const timer = setTimeout(() => {
      waiting--;
      void take(request, verify).catch(ignoreProblem);
    }, retry_ms);
    timer.unref();
  }

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

  function revokedBy({ user, session, issuedAt_ms }: LogoutToken, at_ms: number): Revoked {
    if (session !== null) return { session };
    if (user === null) throw new Error("a logout token has a user or a session");
    // The later one, whichever clock is ahead: what the realm issued before the logout must not pass for newer.
    return { user, before_ms: Math.max(at_ms, issuedAt_ms) };
  }
}

/** Nobody waits for this answer any more; what is not a problem is a bug, and shows as one. */
function ignoreProblem(error: unknown): void {
  if (!(error instanceof Problem)) throw error;
}

/** Section 2.5: `application/x-www-form-urlencoded`, with one `logout_token`. */
function tokenIn(body: string): string {
  const [token, ...others] = new URLSearchParams(body).getAll("logout_token");
  if (token !== undefined && token !== "" && others.length === 0) return token;
  const detail = "Send one `logout_token` in a form (application/x-www-form-urlencoded).";
  const members = { error: "invalid_request", error_description: detail };
  throw new Problem("logout_token_invalid", { detail, members });
}
