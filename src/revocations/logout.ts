import { takeApart, TokenRefused } from "../authorize/jwt.ts";
import { longestLogoutToken_seconds } from "../authorize/logout-token.ts";
import type { Realms } from "../authorize/realms.ts";
import type { Clock } from "../clock/clock.ts";
import type { Moment } from "../clock/realm-clocks.ts";
import type { Client } from "../limits/address.ts";
import type { Revoked } from "../model/entry.ts";
import type { LogoutToken } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Trail } from "../observe/trail.ts";
import type { Settings } from "../settings/schema.ts";
import { cutAt, type Revoker } from "./revoke.ts";
import { createWaiting, type Waiter } from "./waiting.ts";

/** Whom a logout comes from. */
export interface Sender {
  readonly client: Client;
  readonly trail: Trail;
}

/** As it came. */
interface Request extends Waiter {
  readonly token: string;
  readonly at: Moment;
  readonly sender: Sender;
}

const mostRemembered = 100_000;
/** Of at most 16 KiB each, and anybody's: nothing is known of them but that they look like logouts of a realm. */
const places = { most: 1000, mostPerAddress: 100 } as const;
const longest_ms = longestLogoutToken_seconds * 1000;

export interface Logout {
  /** Takes the body of a logout. Throws `logout_token_invalid`, or `unavailable` where it waits for the realm's keys. */
  take(body: string, sender: Sender): Promise<void>;
  /** How many wait for the realm's keys. */
  readonly waiting: number;
  /** The log names those that still wait. */
  stop(): void;
}

/**
 * `POST /backchannel-logout` (OpenID Connect Back-Channel Logout 1.0). A `sid` ends that Keycloak session; without one, `sub`
 * ends all of the user's. With both, the user's tokens of no session end as well (`logout_ends_unlinked`): websocket tokens
 * that a front service asked for without saying for which, and access tokens that name none.
 */
export function createLogout(
  { logout_ends_unlinked, clock_tolerance_seconds }: Pick<Settings, "logout_ends_unlinked" | "clock_tolerance_seconds">,
  needs: {
    readonly realms: Realms | undefined;
    readonly revoker: Pick<Revoker, "revoke">;
    readonly events: Pick<Events["access"], "loggedOut" | "logoutRefused" | "logoutLost">;
    readonly clock: Pick<Clock, "moment" | "uptime_ms" | "realms">;
    readonly retry_ms?: number;
  },
): Logout {
  const { realms, revoker, events, clock, retry_ms = 2000 } = needs;
  /** Those that were taken, in order: a repeated one must not end what the user has opened since. */
  const taken = new Map<string, number>();
  const waiting = createWaiting<Request>(places);
  /** As long as the same could be taken again: its realm's clock may be ahead. */
  const remembered_ms = longest_ms + clock_tolerance_seconds * 1000;
  let timer: Timer | undefined;

  async function take(body: string, sender: Sender): Promise<void> {
    if (realms === undefined) throw new Problem("not_found", { detail: "No Keycloak realm is configured." });
    const token = tokenIn(body);
    const at = clock.moment();
    try {
      await judge({ token, at, sender }, realms);
    } catch (error) {
      if (error instanceof TokenRefused) throw refusal(error.message);
      if (!(error instanceof Problem) || error.code !== "unavailable") throw error;
      keep({ token, at, sender, id: identityOf(token), address: sender.client.key }, realms);
      throw new Problem("unavailable", {
        ...error.extras,
        detail: `${error.message} The logout waits here, and counts as soon as the key is there.`,
      });
    }
  }

  async function judge({ token, at, sender }: Omit<Request, keyof Waiter>, judges: Realms): Promise<void> {
    const logout = await judges.verifyLogout(token, at);
    if (isRepeated(logout)) return;
    const { connections } = await revoker.revoke(revokedBy(logout, at));
    events.loggedOut(logout, connections, sender.trail);
  }

  /** Keycloak sends a logout once, whatever the answer: one that cannot be verified now is kept until it can. */
  function keep(request: Request, judges: Realms): void {
    const lost = waiting.add(request);
    if (lost !== undefined) events.logoutLost("no_room", lost.sender);
    timer ??= setTimeout(() => void retry(judges), retry_ms).unref();
  }

  /** All in one turn, so that they share one look for their keys. */
  async function retry(judges: Realms): Promise<void> {
    try {
      await Promise.all(waiting.all().map((request) => judgeAgain(request, judges)));
    } finally {
      timer = waiting.size > 0 ? setTimeout(() => void retry(judges), retry_ms).unref() : undefined;
    }
  }

  async function judgeAgain(request: Request, judges: Realms): Promise<void> {
    const { sender, at } = request;
    try {
      await judge(request, judges);
      waiting.remove(request);
    } catch (error) {
      const isEarly = error instanceof Problem && error.code === "unavailable";
      if (isEarly && clock.uptime_ms() - at.uptime_ms <= longest_ms) return;
      if (!waiting.remove(request)) return;
      if (isEarly) events.logoutLost("too_late", sender);
      else if (error instanceof TokenRefused) events.logoutRefused(error.message, sender);
      else throw error;
    }
  }

  function isRepeated({ issuer, id }: LogoutToken): boolean {
    const name = nameOf(issuer, id);
    if (taken.has(name)) return true;
    taken.set(name, clock.uptime_ms());
    for (const [oldest, uptime_ms] of taken) {
      if (taken.size <= mostRemembered && uptime_ms >= clock.uptime_ms() - remembered_ms) break;
      taken.delete(oldest);
    }
    return false;
  }

  /** Ends what was issued up to the logout: by us, up to when it came; by its realm, up to its own `iat`. */
  function revokedBy({ issuer, user, session, issuedAt_ms }: LogoutToken, at: Moment): Revoked {
    const { realms: others, ...cut } = cutAt(at, clock.realms);
    // The later one, in case that the realm's clock was set back: what it issued before must not pass for newer.
    const upTo_ms = Math.max(issuedAt_ms, clock.realms.atLeast_ms(issuer, at) ?? issuedAt_ms);
    if (session !== null) {
      const unlinked = logout_ends_unlinked ? (user ?? undefined) : undefined;
      return { session, ...(unlinked !== undefined && { unlinked }), ...cut, realms: { [issuer]: upTo_ms } };
    }
    if (user === null) throw new Error("a logout token has a user or a session");
    return { user, ...cut, realms: { ...others, [issuer]: upTo_ms } };
  }

  return {
    take,
    get waiting() {
      return waiting.size;
    },
    stop() {
      clearTimeout(timer);
      for (const request of waiting.all()) {
        waiting.remove(request);
        events.logoutLost("stopped", request.sender);
      }
    },
  };
}

/** Of a token that was not verified: the same text, or another of the same id, is the same logout. */
function identityOf(token: string): string {
  const { iss, jti } = takeApart(token, "logout token").payload;
  return nameOf(iss ?? "", jti ?? "");
}

function nameOf(issuer: string, id: string): string {
  return JSON.stringify([issuer, id]);
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
