import { statSync } from "node:fs";
import * as v from "valibot";
import { Cursor, cursorAt } from "../model/cursor.ts";
import type { Draft, Entry } from "../model/entry.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import { CannotOpen, reasonOf } from "./cannot-open.ts";
import { memoLife_ms, type Appended, type Follower, type Journal, type Memo } from "./journal.ts";
import { createSqliteClock } from "./sqlite-clock.ts";
import { beginEpoch } from "./sqlite-history.ts";
import { openExclusively, type LockNeeds, type LockSettings } from "./sqlite-lock.ts";

export type SqliteSettings = LockSettings & Pick<Settings, "journal_window_seconds">;

export interface SqliteNeeds extends LockNeeds {
  /** How long revocations are kept. */
  readonly revocations_ms: number;
  /** A clock that nobody sets, for service time. */
  readonly monotonic?: () => number;
  readonly events: Pick<Events["journal"], "waiting" | "failed" | "recovered" | "committed">;
}

interface Pending {
  readonly draft: Draft;
  readonly memo: Memo | undefined;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: unknown) => void;
}

const probe_ms = 1000;
const later_ms = 100;
const trimmedAtOnce = 20_000;

/** `sqlite:PATH`: survives `kill -9` (and with `sync: full` the loss of power). One owner; see sqlite-lock.ts. */
export async function openSqliteJournal(path: string, settings: SqliteSettings, needs: SqliteNeeds): Promise<Journal> {
  const { revocations_ms, now, monotonic = now, events } = needs;
  const { db, release } = await openExclusively(path, settings, needs);
  const history = begin();
  const clock = createSqliteClock(db, history.clock, { now, monotonic, soon });
  const current = history.epochs.at(-1);
  if (current === undefined) throw new Error("a journal has an epoch");

  const sql = {
    insert: db.prepare("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"),
    hold: db.prepare("INSERT INTO held VALUES (?, ?)"),
    memo: db.prepare("INSERT OR REPLACE INTO memos VALUES (?, ?, ?, ?, ?, NULL)"),
    complete: db.prepare("UPDATE memos SET receipt = ? WHERE scope = ? AND key = ?"),
    recall: db.prepare<{ fingerprint: string; cursor: string; receipt: string | null }, [string, string, number]>(
      "SELECT fingerprint, cursor, receipt FROM memos WHERE scope = ? AND key = ? AND time_ms >= ?",
    ),
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
    oldMemos: db.prepare("DELETE FROM memos WHERE time_ms < ?"),
    oldRevocations: db.prepare(
      `DELETE FROM entries WHERE kind = 'revocation' AND time_ms < ? AND uptime_ms < ?
       AND sequence <= (SELECT trimmed_to FROM state)`,
    ),
    probe: db.prepare("UPDATE state SET one = 1"),
  };

  let next = current.first;
  let trimmedTo = history.trimmedTo;
  let lastTime_ms = 0;
  let failure: string | undefined;
  let isOpen = true;
  let follower: Follower | undefined;
  let pending: Pending[] = [];
  /** Writes that may wait for the next transaction: losing one costs a repetition, never a notification. */
  let later: (() => void)[] = [];
  let atEndOfTurn: ReturnType<typeof setImmediate> | undefined;
  let delayed: Timer | undefined;
  const probing = setInterval(probe, probe_ms);

  function begin(): ReturnType<typeof beginEpoch> {
    try {
      const keep = { window_ms: settings.journal_window_seconds * 1000, revocations_ms };
      return db.transaction(() => beginEpoch(db, now(), keep)).immediate();
    } catch (error) {
      release();
      const reason = reasonOf(error, "the file is damaged");
      throw new CannotOpen(`${path} cannot be opened: ${reason}`, { cause: error });
    }
  }

  function append(draft: Draft, memo?: Memo): Promise<Appended> {
    if (!isOpen) return Promise.reject(unavailable("The service is about to stop."));
    const { promise, resolve, reject } = Promise.withResolvers<Appended>();
    pending.push({ draft, memo, resolve, reject });
    // After the I/O of this turn of the event loop: what came in together is committed together.
    atEndOfTurn ??= setImmediate(flush);
    return promise;
  }

  function soon(write: () => void): void {
    if (!isOpen) return;
    later.push(write);
    delayed ??= setTimeout(flush, later_ms);
  }

  function flush(): void {
    if (atEndOfTurn !== undefined) clearImmediate(atEndOfTurn);
    clearTimeout(delayed);
    [atEndOfTurn, delayed] = [undefined, undefined];
    const [batch, writes] = [pending, later];
    [pending, later] = [[], []];
    const started_ms = performance.now();
    const entries = attempt(() => {
      for (const write of writes) write();
      return batch.map(({ draft, memo }, index) => insert(draft, memo, next + index));
    });
    if (entries === undefined) {
      later = [...writes, ...later];
      for (const { reject } of batch) reject(unavailable("The notification could not be stored."));
      return;
    }
    next += batch.length;
    events.committed((performance.now() - started_ms) / 1000, batch.length);
    entries.forEach((entry, index) => handOver(entry, batch[index]));
  }

  function insert(draft: Draft, memo: Memo | undefined, sequence: number): Entry {
    // A clock that goes back must not make a newer entry older than one before it.
    lastTime_ms = Math.max(lastTime_ms, now());
    const cursor = cursorAt(current?.epoch ?? "", sequence);
    const [time_ms, uptime_ms] = [lastTime_ms, clock.uptime_ms()];
    if (draft.kind === "revocation") {
      const { kind, ...revoked } = draft;
      sql.insert.run(sequence, time_ms, kind, JSON.stringify(revoked), "", 0, uptime_ms);
    } else {
      const { kind, target, json, ttl_seconds } = draft;
      sql.insert.run(sequence, time_ms, kind, JSON.stringify(target), json, ttl_seconds, uptime_ms);
      if (ttl_seconds > 0) for (const user of target.users ?? []) sql.hold.run(sequence, user);
    }
    if (memo !== undefined) sql.memo.run(memo.scope, memo.key, memo.fingerprint, cursor, time_ms);
    return { ...draft, sequence, cursor, time_ms, uptime_ms };
  }

  function handOver(entry: Entry, to: Pending | undefined): void {
    try {
      const outcome = follower?.(entry) ?? { connections: 0, offline: [] };
      to?.resolve({ cursor: entry.cursor, outcome });
    } catch (error) {
      to?.reject(error);
    }
  }

  /** One transaction; undefined if it failed, and nothing of it happened. Tells how the disk is. */
  function attempt<T>(write: () => T): T | undefined {
    try {
      const result = db.transaction(write).immediate();
      setFailure(undefined);
      return result;
    } catch (error) {
      setFailure(reasonOf(error));
      return undefined;
    }
  }

  /** Finds out by itself that the disk is well again: the balancer sends nothing to a node that is not ready. */
  function probe(): void {
    if (failure === undefined) return;
    attempt(() => sql.probe.run());
    if (failure === undefined) flush();
  }

  function setFailure(reason: string | undefined): void {
    if (reason === failure) return;
    failure = reason;
    if (reason === undefined) events.recovered();
    else events.failed(reason);
  }

  return {
    history,
    append,
    follow(newFollower) {
      follower = newFollower;
    },
    recall({ scope, key }) {
      if (!isOpen) throw unavailable("The service is about to stop.");
      // An answer may still be waiting to be written.
      if (later.length > 0) flush();
      const found = sql.recall.get(scope, key, now() - memoLife_ms);
      if (found === null) return undefined;
      return { ...found, cursor: v.parse(Cursor, found.cursor), receipt: found.receipt ?? undefined };
    },
    complete({ scope, key }, receipt) {
      soon(() => sql.complete.run(receipt, scope, key));
    },
    release(user, sequences) {
      soon(() => {
        for (const sequence of sequences) {
          sql.release.run(sequence, user);
          sql.sweep.run(sequence);
        }
      });
    },
    trim(upTo) {
      const to = Math.min(upTo, trimmedTo + trimmedAtOnce);
      const from = trimmedTo;
      if (failure !== undefined || !isOpen) return;
      attempt(() => {
        if (to > from) {
          sql.trim.run(from, to);
          sql.trimmed.run(to, next);
        }
        sql.oldMemos.run(now() - memoLife_ms);
        sql.oldRevocations.run(now() - revocations_ms, clock.uptime_ms() - revocations_ms);
        clock.tidy();
      });
      if (failure === undefined) trimmedTo = Math.max(trimmedTo, to);
    },
    uptime_ms: clock.uptime_ms,
    keep: clock.keep,
    health: () => (failure === undefined ? { status: "ok" } : { status: "unavailable", reason: failure }),
    size_bytes: () => sizeOf(path) + sizeOf(`${path}-wal`),
    async close() {
      if (!isOpen) return;
      soon(clock.keepUptime);
      // First: what the last entries set off would come after the end.
      isOpen = false;
      flush();
      clearInterval(probing);
      // SQLite keeps the file, and its lock, as long as one statement is left.
      for (const statement of Object.values(sql)) statement.finalize();
      release();
    },
  };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function unavailable(detail: string): Problem {
  return new Problem("unavailable", { detail });
}
