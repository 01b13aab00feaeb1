import { createElapsed } from "../clock/elapsed.ts";
import { cursorAt } from "../model/cursor.ts";
import type { Entry } from "../model/entry.ts";
import { Problem } from "../model/problem.ts";
import { randomEpoch } from "./epoch.ts";
import type { Appended, Follower, Journal, Repeated } from "./journal.ts";
import {
  isTooOld,
  memoLife_ms,
  nameOf,
  packOutcomes,
  repeat,
  sizeOf,
  type MemoSettings,
  type MemoTime,
  type StoredMemo,
} from "./memo.ts";
import { handOver, reserveAll, type Pending } from "./pending.ts";

/**
 * `memory:`: for trials. Durable as long as the process lives; each start is a new epoch.
 *
 * @param needs.monotonic a clock that nobody sets, for service time.
 */
export function createMemoryJournal(
  settings: MemoSettings,
  { now, monotonic = now }: { readonly now: () => number; readonly monotonic?: () => number },
): Journal {
  const uptime_ms = createElapsed(monotonic);
  const life_ms = memoLife_ms(settings);
  const epoch = randomEpoch();
  /** In order: the oldest first. */
  const memos = new Map<string, StoredMemo & MemoTime>();
  let memo_bytes = 0;
  let sequence = 0;
  let lastTime_ms = 0;
  let follower: Follower | undefined;
  /** What the follower appends itself waits for its turn. */
  const queue: Pending[] = [];
  let isTaking = false;

  const at = (): MemoTime => ({ time_ms: now(), uptime_ms: uptime_ms() });

  function takeAll(): void {
    if (isTaking) return;
    isTaking = true;
    for (let pending = queue.shift(); pending !== undefined; pending = queue.shift()) {
      try {
        take(pending);
      } catch (error) {
        pending.reject(error);
      }
    }
    isTaking = false;
  }

  function take(pending: Pending): void {
    const { drafts, memo } = pending;
    if (follower === undefined) throw new Problem("unavailable", { detail: "The service is about to stop." });
    const stored = memo === undefined ? undefined : find(nameOf(memo));
    if (stored !== undefined && memo !== undefined) return pending.resolve(repeat(stored, memo, drafts));
    const giveBack = reserveAll(drafts, follower);
    // A clock that goes back must not make a newer entry older than one before it.
    lastTime_ms = Math.max(lastTime_ms, now());
    const entries = drafts.map((draft): Entry => {
      const place = { sequence: ++sequence, time_ms: lastTime_ms, uptime_ms: uptime_ms() };
      return { ...draft, ...place, cursor: cursorAt(epoch, place.sequence) };
    });
    const counted = memo === undefined ? undefined : drafts.map(follower.count);
    if (memo !== undefined && counted !== undefined) {
      const { fingerprint } = memo;
      const cursor = entries[0]?.cursor ?? cursorAt(epoch, sequence);
      remember(nameOf(memo), {
        fingerprint,
        cursor,
        outcomes: packOutcomes(drafts, counted),
        time_ms: lastTime_ms,
        uptime_ms: uptime_ms(),
      });
    }
    handOver({ entries, counted }, pending, follower);
    giveBack();
  }

  function find(name: string): StoredMemo | undefined {
    const memo = memos.get(name);
    return memo === undefined || isTooOld(memo, at(), life_ms) ? undefined : memo;
  }

  function remember(name: string, memo: StoredMemo & MemoTime): void {
    forget(name);
    memos.set(name, memo);
    memo_bytes += sizeOf(name, memo);
    trim();
  }

  function forget(name: string): void {
    const memo = memos.get(name);
    if (memo === undefined) return;
    memos.delete(name);
    memo_bytes -= sizeOf(name, memo);
  }

  function trim(): void {
    for (const [name, memo] of memos) {
      if (!isTooOld(memo, at(), life_ms) && memo_bytes <= settings.max_idempotency_bytes) break;
      forget(name);
    }
  }

  return {
    history: {
      epochs: [{ epoch, first: 1 }],
      entries: [],
      trimmedTo: 0,
      held: [],
      revocations: [],
      clock: { wall_ms: 0, stamp: now(), realms: {} },
      tokenSecret: crypto.getRandomValues(Buffer.alloc(32)).toString("hex"),
    },
    append(drafts, memo) {
      const { promise, resolve, reject } = Promise.withResolvers<Appended | Repeated>();
      queue.push({ drafts, memo, resolve, reject });
      takeAll();
      return promise;
    },
    follow(newFollower) {
      follower = newFollower;
    },
    release() {},
    uptime_ms,
    keep() {},
    trim,
    size_bytes: () => 0,
    memos: () => ({ count: memos.size, bytes: memo_bytes, oldest_ms: memos.values().next().value?.time_ms }),
    health: () => ({ status: "ok" }),
    async close() {
      follower = undefined;
    },
    isTakenOver: async () => false,
  };
}
