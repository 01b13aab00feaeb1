import { TokenRefused } from "../authorize/jwt.ts";
import { longestLogoutToken_seconds } from "../authorize/logout-token.ts";
import type { Realms } from "../authorize/realms.ts";
import type { Clock } from "../clock/clock.ts";
import type { Moment } from "../clock/realm-clocks.ts";
import type { Revoked } from "../model/entry.ts";
import type { LogoutToken } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import { cutAt, type Revoker } from "./revoke.ts";

/** As it came. */
interface Request {
  readonly token: string;
  readonly at: Moment;
  readonly requestId: string;
}

const mostRemembered = 100_000;
/** Of at most 16 KiB each, and anybody's: nothing is known of them yet. */
const mostWaiting = 1000;
const longest_ms = longestLogoutToken_seconds * 1000;
/** By then every key that there was when it came has been looked for: twice the cool-down between two looks. */
const untilLookedFor_ms = 60_000;

/** Takes the body of a logout. */
export type Logout = (body: string, requestId: string) => Promise<void>;

/**
 * `POST /backchannel-logout` (OpenID Connect Back-Channel Logout 1.0). A `sid` ends that Keycloak session; without one, `sub`
 * ends all of the user's.
 */
export function createLogout(needs: {
  readonly realms: Realms | undefined;
  readonly revoker: Pick<Revoker, "revoke">;
  readonly events: Pick<Events["access"], "loggedOut">;
  readonly clock: Pick<Clock, "moment" | "uptime_ms" | "realms">;
  readonly retry_ms?: number;
}): Logout {
  const { realms, revoker, events, clock, retry_ms = 2000 } = needs;
  /** Those that were taken, in order: a repeated one must not end what the user has opened since. */
  const taken = new Map<string, number>();
  let waiting = 0;

  return async function logout(body, requestId) {
    if (realms === undefined) throw new Problem("not_found", { detail: "No Keycloak realm is configured." });
    await take({ token: tokenIn(body), at: clock.moment(), requestId }, realms);
  };

  async function take(request: Request, judges: Realms): Promise<void> {
    try {
      const token = await judges.verifyLogout(request.token, request.at);
      if (isRepeated(token)) return;
      const { connections } = await revoker.revoke(revokedBy(token, request.at));
      events.loggedOut(token, connections, request.requestId);
    } catch (error) {
      if (error instanceof Problem && error.code === "unavailable") keep(request, judges, longest_ms);
      if (!(error instanceof TokenRefused)) throw error;
      if (error.why === "pending") keep(request, judges, untilLookedFor_ms);
      throw refusal(error.message);
    }
  }

  /** Keycloak sends a logout once, whatever the answer: one that cannot be verified now is kept until it can. */
  function keep(request: Request, judges: Realms, atMost_ms: number): void {
    if (waiting >= mostWaiting || clock.uptime_ms() - request.at.uptime_ms > atMost_ms) return;
    waiting++;
    const timer = setTimeout(() => {
      waiting--;
      void take(request, judges).catch(ignoreProblem);
    }, retry_ms);
    timer.unref();
  }

  function isRepeated({ issuer, id }: LogoutToken): boolean {
    const name = `${issuer} ${id}`;
    if (taken.has(name)) return true;
    taken.set(name, clock.uptime_ms());
    for (const [oldest, uptime_ms] of taken) {
      if (taken.size <= mostRemembered && uptime_ms >= clock.uptime_ms() - longest_ms) break;
      taken.delete(oldest);
    }
    return false;
  }

  /** Ends what was issued up to the logout: by us, up to when it came; by its realm, up to its own `iat`. */
  function revokedBy({ issuer, user, session, issuedAt_ms }: LogoutToken, at: Moment): Revoked {
    const { realms: others, ...cut } = cutAt(at, clock.realms);
    // The later one, in case that the realm's clock was set back: what it issued before must not pass for newer.
    const upTo_ms = Math.max(issuedAt_ms, clock.realms.atLeast_ms(issuer, at) ?? issuedAt_ms);
    if (session !== null) return { session, ...cut, realms: { [issuer]: upTo_ms } };
    if (user === null) throw new Error("a logout token has a user or a session");
    return { user, ...cut, realms: { ...others, [issuer]: upTo_ms } };
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
  throw refusal("Send one `logout_token` in a form (application/x-www-form-urlencoded).");
}

/** Section 2.8: the error in the form of RFC 6749 section 5.2, beside our own. */
function refusal(detail: string): Problem {
  const members = { error: "invalid_request", error_description: detail };
  return new Problem("logout_token_invalid", { detail, members });
}
