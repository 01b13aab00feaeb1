import type { Access } from "./authorize/access.ts";
import type { RevokedAt, Revocations } from "./authorize/revocations.ts";
import type { Clock } from "./clock/clock.ts";
import type { Backlog } from "./connections/backlog.ts";
import type { Beat } from "./connections/beat.ts";
import type { Connection } from "./connections/connection.ts";
import type { Expiry } from "./connections/expiry.ts";
import type { Fanout } from "./connections/fanout.ts";
import type { Members } from "./connections/members.ts";
import type { Pacing } from "./connections/pacing.ts";
import type { Registry } from "./connections/registry.ts";
import type { Held } from "./journal/held.ts";
import type { Follower, Journal } from "./journal/journal.ts";
import type { Window } from "./journal/window.ts";
import type { Draft, Entry, Outcome, Revoked } from "./model/entry.ts";
import type { KeycloakId } from "./model/names.ts";

/** The heart: from an entry of the journal to the connections that it is for. */
export interface Delivery extends Follower {
  /** Puts a revocation in force on this node, and tells how many connections it ended. */
  revoke(revoked: Revoked, at: RevokedAt): number;
  /** Ends the connections that would not be let in any more, after the settings have changed; tells how many. */
  endForbidden(): number;
  /** Drops what nobody can ask for any more, and ends what has come to its end. */
  tidy(): void;
}

export function createDelivery(needs: {
  readonly journal: Journal;
  readonly window: Window;
  readonly held: Held;
  readonly revocations: Revocations;
  readonly access: Access;
  readonly registry: Registry<Connection>;
  readonly members: Members;
  readonly backlog: Pick<Backlog, "tidy">;
  readonly fanout: Fanout;
  readonly beat: Beat;
  readonly expiry: Expiry;
  readonly pacing: Pick<Pacing, "renew">;
  readonly clock: Clock;
}): Delivery {
  const {
    journal,
    window,
    held,
    revocations,
    access,
    registry,
    members,
    backlog,
    fanout,
    beat,
    expiry,
    pacing,
    clock,
  } = needs;

  function reserve(draft: Draft): () => void {
    if (draft.kind !== "notification" || draft.ttl_seconds === 0) return () => {};
    return held.reserve(draft.target.users ?? [], Buffer.byteLength(draft.json));
  }

  function count(draft: Draft): Outcome {
    if (draft.kind === "notification") return fanout.count(draft.target);
    return { connections: concerned(draft).length, offline: [] };
  }

  function follow(entry: Entry): Outcome {
    window.add(entry);
    beat.moved();
    if (entry.kind === "revocation") return { connections: revoke(entry, entry), offline: [] };
    if (entry.ttl_seconds > 0) held.add(entry);
    return fanout.deliver(entry);
  }

  function revoke(revoked: Revoked, at: RevokedAt): number {
    revocations.add(revoked, at);
    return end(concerned(revoked));
  }

  /** The connections that a revocation may end, each once. */
  function concerned(revoked: Revoked): readonly Connection[] {
    if (revoked.user !== undefined) return ofUser(revoked.user);
    const { session, unlinked } = revoked;
    const ofSession = [...registry.ofSession(session), ...members.suspended.ofSession(session)];
    return unlinked === undefined ? ofSession : [...new Set([...ofSession, ...ofUser(unlinked)])];
  }

  function ofUser(user: KeycloakId): readonly Connection[] {
    return [...registry.ofUser(user), ...members.suspended.ofUser(user)];
  }

  /** At once, where it is over for the client; those that may come back with a new token, one after the other. */
  function end(candidates: Iterable<Connection>): number {
    // Picked first: to close one changes the registry.
    const ended = Array.from(candidates, (connection) => ({ connection, code: access.endingOf(connection) }));
    const revoked = ended.filter(({ code }) => code === "revoked");
    for (const { connection } of revoked) members.close(connection, "revoked");
    const expired = ended.filter(({ code }) => code === "token_expired");
    return revoked.length + pacing.renew(expired.map(({ connection }) => connection));
  }

  const endForbidden = (): number => end(members.all());

  function tidy(): void {
    // First: whether the wall clock was set.
    clock.tidy();
    expiry.tidy();
    backlog.tidy();
    window.trim();
    held.expire();
    journal.trim(window.trimmedTo);
    revocations.tidy();
    if (access.hasEnded()) endForbidden();
  }

  return { reserve, count, follow, revoke, endForbidden, tidy };
}
