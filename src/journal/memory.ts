import { cursorAt } from "../model/cursor.ts";
import { Problem } from "../model/problem.ts";
import type { Follower, Journal } from "./journal.ts";

/** `memory:`: for trials. Durable as long as the process lives; each start is a new epoch. */
export function createMemoryJournal(options: { epoch: string; now: () => number }): Journal {
  let sequence = 0;
  let follower: Follower | undefined;

  return {
    async append(draft) {
      if (follower === undefined) throw new Problem("unavailable", { detail: "The journal is closed." });
      const cursor = cursorAt(options.epoch, ++sequence);
      const outcome = follower({ ...draft, cursor, time_ms: options.now() });
      return { cursor, outcome };
    },
    follow(newFollower) {
      follower = newFollower;
    },
    async close() {
      follower = undefined;
    },
  };
}
