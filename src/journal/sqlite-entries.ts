import type { Database } from "bun:sqlite";
import type { Entry } from "../model/entry.ts";
import type { KeycloakId } from "../model/names.ts";

/** The tables `entries`, `held` and `state`. All of it is called in a transaction. */
export interface Entries {
  insert(entry: Entry): void;
  /** Forgets held notifications, and deletes those that nobody waits for any more, if they are out of the window. */
  release(user: KeycloakId, sequences: readonly number[]): void;
  /** Deletes notifications that are not held, after one sequence and up to another. */
  trim(from: number, to: number, next: number): void;
  /** Deletes those that are old by wall time and by service time. */
  deleteRevocations(before_ms: number, before_uptime_ms: number): void;
  /** Writes what is there already. Fails if nothing can be written. */
  probe(): void;
  finalize(): void;
}

export function openEntries(db: Database): Entries {
  const sql = {
    insert: db.prepare("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"),
    hold: db.prepare("INSERT INTO held VALUES (?, ?)"),
    release: db.prepare("DELETE FROM held WHERE sequence = ? AND user = ?"),
    sweep: db.prepare(
      `DELETE FROM entries WHERE sequence = ?1 AND sequence <= (SELECT trimmed_to FROM state)
       AND NOT EXISTS (SELECT 1 FROM held WHERE sequence = ?1)`,
    ),
    trim: db.prepare(
      `DELETE FROM entries WHERE sequence > ? AND sequence <= ? AND kind = 'notification'
       AND NOT EXISTS (SELECT 1 FROM held WHERE held.sequence = entries.sequence)`,
    ),
    trimmed: db.prepare("UPDATE state SET trimmed_to = ?, next_sequence = ?"),
    oldRevocations: db.prepare(
      `DELETE FROM entries WHERE kind = 'revocation' AND time_ms < ? AND uptime_ms < ?
       AND sequence <= (SELECT trimmed_to FROM state)`,
    ),
    probe: db.prepare("UPDATE state SET one = 1"),
  };

  function insert(entry: Entry): void {
    const { sequence, time_ms, uptime_ms, cursor: _, ...draft } = entry;
    if (draft.kind === "revocation") {
      const { kind, ...revoked } = draft;
      sql.insert.run(sequence, time_ms, kind, JSON.stringify(revoked), "", 0, uptime_ms);
      return;
    }
    const { kind, target, json, ttl_seconds } = draft;
    sql.insert.run(sequence, time_ms, kind, JSON.stringify(target), json, ttl_seconds, uptime_ms);
    if (ttl_seconds > 0) for (const user of target.users ?? []) sql.hold.run(sequence, user);
  }

  return {
    insert,
    release(user, sequences) {
      for (const sequence of sequences) {
        sql.release.run(sequence, user);
        sql.sweep.run(sequence);
      }
    },
    trim(from, to, next) {
      sql.trim.run(from, to);
      sql.trimmed.run(to, next);
    },
    deleteRevocations: (...before) => void sql.oldRevocations.run(...before),
    probe: () => void sql.probe.run(),
    finalize() {
      for (const statement of Object.values(sql)) statement.finalize();
    },
  };
}
