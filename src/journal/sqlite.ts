import { resolve as absolute } from "node:path";
import { cursorAt } from "../model/cursor.ts";
import type { Entry, Outcome } from "../model/entry.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { Appended, Follower, Journal, Repeated } from "./journal.ts";
import { nameOf, packOutcomes, repeat, type MemoSettings, type MemoTime } from "./memo.ts";
import { handOver, reserveAll, type Pending, type Taken } from "./pending.ts";
import { createSqliteClock } from "./sqlite-clock.ts";
import { openEntries, type Entries } from "./sqlite-entries.ts";
import { fileSize, logOf } from "./sqlite-file.ts";
import { createHealth } from "./sqlite-health.ts";
import { beginEpoch } from "./sqlite-history.ts";
import {
  cannotOpen,
  isTakenOver,
  openExclusively,
  release,
  unmark,
  type LockNeeds,
  type LockSettings,
} from "./sqlite-lock.ts";
import { openMemos, type Memos } from "./sqlite-memos.ts";
import { compactOnce, shrink } from "./sqlite-schema.ts";

export type SqliteSettings = LockSettings & MemoSettings & Pick<Settings, "journal_window_seconds">;

export interface SqliteNeeds extends LockNeeds {
  /** How long revocations are kept. */
  readonly revocations_ms: number;
  /** A clock that nobody sets, for service time. */
  readonly monotonic?: () => number;
  readonly events: Pick<Events["journal"], "waiting" | "failed" | "recovered" | "committed">;
}

const probe_ms = 1000;
const later_ms = 100;
const trimmedAtOnce = 20_000;
/** Of memos, at each `trim`, and with each new one: so they go as fast as they come, and none of it takes long. */
const forgottenAtOnce = 2000;
const forgottenWithOne = 2;

/** `sqlite:PATH`: survives `kill -9` (and with `sync: full` the loss of power). One owner; see sqlite-lock.ts. */
export async function openSqliteJournal(given: string, settings: SqliteSettings, needs: SqliteNeeds): Promise<Journal> {
  const { revocations_ms, now, monotonic = now, events } = needs;
  const path = absolute(given);
  const owned = await openExclusively(path, settings, needs);
  const { db } = owned;
  const { history, entries, memos } = begin();
  compactOnce(db);
  const current = history.epochs.at(-1);
  if (current === undefined) throw new Error("a journal has an epoch");
  const clock = createSqliteClock(db, history.clock, { now, monotonic, soon });
  const log = logOf(path);
  const health = createHealth(owned, path, { events, healed: flush });

  let next = current.first;
  let trimmedTo = history.trimmedTo;
  let lastTime_ms = 0;
  let isOpen = true;
  let follower: Follower | undefined;
  let pending: Pending[] = [];
  /** Writes that may wait for the next transaction: losing one costs a repetition, never a notification. */
  let later: (() => void)[] = [];
  let atEndOfTurn: ReturnType<typeof setImmediate> | undefined;
  let delayed: Timer | undefined;
  const at = (): MemoTime => ({ time_ms: now(), uptime_ms: clock.uptime_ms() });
  const probing = setInterval(() => health.probe(entries.probe), probe_ms);

  function begin(): { history: ReturnType<typeof beginEpoch>; entries: Entries; memos: Memos } {
    const opened: { finalize(): void }[] = [];
    try {
      const keep = { window_ms: settings.journal_window_seconds * 1000, revocations_ms };
      return db
        .transaction(() => {
          const entriesHere = openEntries(db);
          opened.push(entriesHere);
          const memosHere = openMemos(db, settings);
          opened.push(memosHere);
          unmark(db);
          return { history: beginEpoch(db, now(), keep), entries: entriesHere, memos: memosHere };
        })
        .immediate();
    } catch (error) {
      for (const statements of opened) statements.finalize();
      release(owned, path, undefined);
      throw cannotOpen(path, error, "the file is damaged");
    }
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
    const marked = memos.mark();
    const reserved: (() => void)[] = [];
    let sequence = next;
    const taken = health.attempt(
      () => {
        for (const write of writes) write();
        return batch.map((one) => {
          const result = take(one, sequence, reserved);
          if (typeof result !== "function") sequence += result.entries.length;
          return result;
        });
      },
      () => writes.length > 0 || sequence > next,
    );
    if (taken === undefined) {
      memos.reset(marked);
      later = [...writes, ...later];
      for (const one of batch) refuse(one);
    } else {
      const count = sequence - next;
      next = sequence;
      events.committed((performance.now() - started_ms) / 1000, count);
      taken.forEach((result, index) => answer(result, batch[index]));
    }
    for (const giveBack of reserved) giveBack();
  }

  /** In the transaction. A function: nothing is stored, and this is the answer. */
  function take(
    { drafts, memo, resolve, reject }: Pending,
    first: number,
    reserved: (() => void)[],
  ): Taken | (() => void) {
    if (follower === undefined) throw new Error("a journal is followed before it is appended to");
    const stored = memo === undefined ? undefined : memos.find(nameOf(memo), at());
    let counted: Outcome[] | undefined;
    try {
      if (stored !== undefined && memo !== undefined) {
        const repeated = repeat(stored, memo, drafts);
        return () => resolve(repeated);
      }
      reserved.push(reserveAll(drafts, follower));
      if (memo !== undefined) counted = drafts.map(follower.count);
    } catch (error) {
      return () => reject(error);
    }
    // A clock that goes back must not make a newer entry older than one before it.
    lastTime_ms = Math.max(lastTime_ms, now());
    const [time_ms, uptime_ms] = [lastTime_ms, clock.uptime_ms()];
    const epoch = current?.epoch ?? "";
    const taken = drafts.map((draft, index): Entry => {
      const sequence = first + index;
      return { ...draft, sequence, time_ms, uptime_ms, cursor: cursorAt(epoch, sequence) };
    });
    for (const entry of taken) entries.insert(entry);
    if (memo !== undefined && counted !== undefined) {
      const outcomes = packOutcomes(drafts, counted);
      memos.add(
        nameOf(memo),
        { fingerprint: memo.fingerprint, cursor: cursorAt(epoch, first), outcomes },
        { time_ms, uptime_ms },
      );
      memos.forget(forgottenWithOne, { time_ms, uptime_ms });
    }
    return { entries: taken, counted };
  }

  function answer(result: Taken | (() => void), to: Pending | undefined): void {
    if (typeof result === "function") result();
    else if (to !== undefined && follower !== undefined) handOver(result, to, follower);
  }

  /** Nothing can be written. A repeat needs no more than what is there. */
  function refuse({ drafts, memo, resolve, reject }: Pending): void {
    try {
      const stored = memo === undefined || health.isLost ? undefined : memos.find(nameOf(memo), at());
      if (stored !== undefined && memo !== undefined) resolve(repeat(stored, memo, drafts));
      else reject(unavailable("The notification could not be stored."));
    } catch (error) {
      reject(error instanceof Problem ? error : unavailable("The notification could not be stored."));
    }
  }

  function trim(upTo: number): void {
    if (health.reason !== undefined || !isOpen) return;
    const to = Math.min(upTo, trimmedTo + trimmedAtOnce);
    const marked = memos.mark();
    const done = health.attempt(() => {
      if (to > trimmedTo) entries.trim(trimmedTo, to, next);
      memos.forget(forgottenAtOnce, at());
      entries.deleteRevocations(now() - revocations_ms, clock.uptime_ms() - revocations_ms);
      clock.tidy();
      shrink(db);
      return true;
    });
    if (done === undefined) memos.reset(marked);
    else trimmedTo = Math.max(trimmedTo, to);
  }

  async function close(): Promise<void> {
    if (!isOpen) return;
    soon(clock.keepUptime);
    // First: what the last entries set off would come after the end.
    isOpen = false;
    flush();
    clearInterval(probing);
    health.look();
    if (health.isLost) return health.abandon();
    if (health.reason === undefined) health.attempt(memos.save);
    // SQLite keeps the file, and its lock, as long as one statement is left.
    entries.finalize();
    memos.finalize();
    release(owned, path, health.reason === undefined ? Math.floor(now() / 1000) : undefined);
  }

  return {
    history,
    append(drafts, memo) {
      if (!isOpen) return Promise.reject(unavailable("The service is about to stop."));
      const { promise, resolve, reject } = Promise.withResolvers<Appended | Repeated>();
      pending.push({ drafts, memo, resolve, reject });
      // After the I/O of this turn of the event loop: what came in together is committed together.
      atEndOfTurn ??= setImmediate(flush);
      return promise;
    },
    follow(newFollower) {
      follower = newFollower;
    },
    release: (user, sequences) => soon(() => entries.release(user, sequences)),
    trim,
    uptime_ms: clock.uptime_ms,
    keep: clock.keep,
    health: () => ({ status: health.reason === undefined ? "ok" : "unavailable", reason: health.reason }),
    size_bytes: () => fileSize(path) + fileSize(log),
    memos: () => memos.totals(),
    close,
    isTakenOver: () => isTakenOver(owned),
  };
}

function unavailable(detail: string): Problem {
  return new Problem("unavailable", { detail });
}
