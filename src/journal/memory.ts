import { createElapsed } from "../clock/elapsed.ts";
import { cursorAt } from "../model/cursor.ts";
import { Problem } from "../model/problem.ts";
import { randomEpoch } from "./epoch.ts";
import { memoLife_ms, type Follower, type Journal, type Recalled } from "./journal.ts";

const mostMemos = 100_000;

/**
 * `memory:`: for trials. Durable as long as the process lives; each start is a new epoch.
 *
 * @param needs.monotonic a clock that nobody sets, for service time.
 */
export function createMemoryJournal({
  now,
  monotonic = now,
}: {
  readonly now: () => number;
  readonly monotonic?: () => number;
}): Journal {
  const uptime_ms = createElapsed(monotonic);
  const epoch = randomEpoch();
  const memos = new Map<string, Recalled & { time_ms: number }>();
  let sequence = 0;
  let lastTime_ms = 0;
  let follower: Follower | undefined;

  function trim(): void {
    const oldest_ms = now() - memoLife_ms;
    for (const [name, { time_ms }] of memos) {
      if (time_ms >= oldest_ms && memos.size <= mostMemos) break;
      memos.delete(name);
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
    async append(draft, memo) {
      if (follower === undefined) throw new Problem("unavailable", { detail: "The service is about to stop." });
      // A clock that goes back must not make a newer entry older than one before it.
      lastTime_ms = Math.max(lastTime_ms, now());
      const place = {
        sequence: ++sequence,
        cursor: cursorAt(epoch, sequence),
        time_ms: lastTime_ms,
        uptime_ms: uptime_ms(),
      };
      if (memo !== undefined) {
        const { fingerprint } = memo;
        memos.set(nameOf(memo), { fingerprint, cursor: place.cursor, receipt: undefined, time_ms: place.time_ms });
      }
      return { cursor: place.cursor, outcome: follower({ ...draft, ...place }) };
    },
    follow(newFollower) {
      follower = newFollower;
    },
    recall(name) {
      const memo = memos.get(nameOf(name));
      return memo !== undefined && memo.time_ms >= now() - memoLife_ms ? memo : undefined;
    },
    complete(name, receipt) {
      const memo = memos.get(nameOf(name));
      if (memo !== undefined) memos.set(nameOf(name), { ...memo, receipt });
    },
    release() {},
    uptime_ms,
    keep() {},
    trim,
    size_bytes: () => 0,
    health: () => ({ status: "ok" }),
    async close() {
      follower = undefined;
    },
  };
}

function nameOf({ scope, key }: { scope: string; key: string }): string {
  // A scope is the name of an API key, which has no line breaks.
  return `${scope}\n${key}`;
}
