import type { Access } from "./authorize/access.ts";
import type { RevokedAt, Revocations } from "./authorize/revocations.ts";
import type { Clock } from "./clock/clock.ts";
import type { Backlog } from "./connections/backlog.ts";
import type { Beat } from "./connections/beat.ts";
import type { Connection } from "./connections/connection.ts";
import type { Expiry } from "./connections/expiry.ts";
import type { Fanout } from "./connections/fanout.ts";
import type { Members } from "./connections/members.ts";
import type { Registry } from "./connections/registry.ts";
import type { Held } from "./journal/held.ts";
import type { Follower, Journal } from "./journal/journal.ts";
import type { Window } from "./journal/window.ts";
import type { Draft, Entry, Outcome, Revoked } from "./model/entry.ts";

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
  readonly clock: Clock;
}): Delivery {
  const { journal, window, held, revocations, access, registry, members, backlog, fanout, beat, expiry, clock } = needs;

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
    if (revoked.user !== undefined) return registry.ofUser(revoked.user);
    const ofSession = registry.ofSession(revoked.session);
    if (revoked.unlinked === undefined) return ofSession;
    return [...new Set([...ofSession, ...registry.ofUser(revoked.unlinked)])];
  }

  function end(candidates: Iterable<Connection>): number {
    // Picked first: to close one changes the registry.
    const ended = Array.from(candidates).flatMap((connection) => {
      const code = access.endingOf(connection);
      return code === undefined ? [] : [{ connection, code }];
    });
    for (const { connection, code } of ended) members.close(connection, code);
    return ended.length;
  }

  const endForbidden = (): number => end(registry.all());

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
