import type { Clock } from "../clock/clock.ts";
import type { Moment, RealmClocks } from "../clock/realm-clocks.ts";
import type { Delivery } from "../delivery.ts";
import type { Journal } from "../journal/journal.ts";
import type { Cut, Revocation, Revoked } from "../model/entry.ts";
import type { KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Trail } from "../observe/trail.ts";

export interface Revoker {
  /** It is in force before this returns, and in the journal as soon as the journal can take it. */
  revoke(revoked: Revoked): Promise<{
    /** How many it ended. */
    readonly connections: number;
    /** The journal has it: it will outlive a restart. */
    readonly saved: boolean;
  }>;
  /** `DELETE /connections/{keycloakID}`. Throws `unavailable` if the journal cannot keep it: then it is in force all the same. */
  disconnect(user: KeycloakId, trail: Trail): Promise<Disconnected>;
  /** How many are not in the journal yet. */
  readonly unsaved: number;
  /** A last attempt, at the end of the service. Resolves with whether the journal has taken all; the log names those it has not. */
  stop(): Promise<boolean>;
}

/** The answer of `DELETE /connections/{keycloakID}`. */
export interface Disconnected {
  readonly keycloakID: KeycloakId;
  readonly disconnected: number;
}

/**
 * Nobody repeats a logout: Keycloak sends it once. So it is in force at once, whatever the journal says, and kept for the
 * journal until that takes it: a full disk must not bring a session back at the next restart, or leave it alive elsewhere.
 */
export function createRevoker(needs: {
  readonly delivery: Pick<Delivery, "revoke">;
  /** Every node follows it. */
  readonly journal: Pick<Journal, "append">;
  readonly events: Pick<Events["access"], "revokedByOperator" | "revocationsUnsaved" | "revocationLost">;
  readonly clock: Pick<Clock, "believed_ms" | "uptime_ms" | "moment" | "realms">;
  readonly retry_ms?: number;
}): Revoker {
  const { delivery, journal, events, clock, retry_ms = 1000 } = needs;
  const unsaved = new Set<Revocation>();
  let timer: Timer | undefined;

  async function revoke(revoked: Revoked): ReturnType<Revoker["revoke"]> {
    const here = delivery.revoke(revoked, { time_ms: clock.believed_ms(), uptime_ms: clock.uptime_ms() });
    const revocation: Revocation = { kind: "revocation", ...revoked };
    const elsewhere = await save(revocation);
    return { connections: here + elsewhere, saved: !unsaved.has(revocation) };
  }

  async function disconnect(user: KeycloakId, trail: Trail): Promise<Disconnected> {
    const { connections, saved } = await revoke({ user, ...cutAt(clock.moment(), clock.realms) });
    events.revokedByOperator(user, connections, trail);
    if (saved) return { keycloakID: user, disconnected: connections };
    // Unlike Keycloak, an operator can ask again.
    const detail = `The user's ${connections} connections have ended, but the journal cannot keep it now: a restart would forget it.`;
    throw new Problem("unavailable", { detail });
  }

  async function save(revocation: Revocation): Promise<number> {
    try {
      const { placed } = await journal.append([revocation]);
      if (unsaved.delete(revocation) && unsaved.size === 0) events.revocationsUnsaved(0);
      return placed[0]?.outcome.connections ?? 0;
    } catch {
      unsaved.add(revocation);
      events.revocationsUnsaved(unsaved.size);
      timer ??= setTimeout(() => void retry(), retry_ms);
      return 0;
    }
  }

  /** In order, and no further than the first that fails: the next would fail, too. */
  async function retry(): Promise<void> {
    for (const revocation of unsaved) {
      await save(revocation);
      if (unsaved.has(revocation)) break;
    }
    timer = unsaved.size > 0 ? setTimeout(() => void retry(), retry_ms) : undefined;
  }

  return {
    revoke,
    disconnect,
    get unsaved() {
      return unsaved.size;
    },
    async stop() {
      clearTimeout(timer);
      await retry();
      clearTimeout(timer);
      for (const revoked of unsaved) events.revocationLost(revoked);
      return unsaved.size === 0;
    },
  };
}

/** Ends all that was issued before a moment, here and by the realms. */
export function cutAt(moment: Moment, realms: Pick<RealmClocks, "atMost_ms">): Cut {
  return { stamp: moment.stamp, realms: realms.atMost_ms(moment), before_ms: moment.believed_ms };
}
