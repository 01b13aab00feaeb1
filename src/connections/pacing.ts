import type { Settings } from "../settings/schema.ts";
import type { Connection } from "./connection.ts";
import type { Members } from "./members.ts";

const tick_ms = 100;

/** Ends connections whose clients may come back with a new token. */
export interface Pacing {
  /**
   * Closes connections one after the other, over `drain_seconds`. From now on they get nothing, because nobody knows whether they
   * still may; what they miss, their clients get when they are back. Returns how many: those that have left do not count.
   */
  renew(connections: readonly Connection[]): number;
  /** Leaves to the drain those that are left. */
  stop(): void;
}

export function createPacing(
  { drain_seconds, journal_window_seconds }: Pick<Settings, "drain_seconds" | "journal_window_seconds">,
  members: Pick<Members, "suspend" | "suspended" | "close">,
): Pacing {
  // Longer, and what they miss would leave the window before they are back.
  const seconds = Math.min(drain_seconds, journal_window_seconds / 2);
  let isStopped = false;

  function renew(connections: readonly Connection[]): number {
    let waiting = connections.filter((connection) => members.suspend(connection));
    const count = waiting.length;
    void evenly(seconds, {
      left() {
        // Others were ended meanwhile, or went.
        waiting = isStopped ? [] : waiting.filter((connection) => members.suspended.has(connection));
        return waiting.length;
      },
      end(share) {
        for (const connection of waiting.slice(0, share)) members.close(connection, "token_expired");
      },
    });
    return count;
  }

  return { renew, stop: () => void (isStopped = true) };
}

/**
 * Ends all that are there, evenly over a time: thousands of clients that come back in the same moment are like an attack. Returns
 * as soon as nobody is left.
 */
export async function evenly(
  seconds: number,
  { left, end }: { readonly left: () => number; readonly end: (share: number) => void },
): Promise<void> {
  const all = left();
  const ticks = Math.max(1, (seconds * 1000) / tick_ms);
  for (let tick = 1; left() > 0; tick++) {
    const mayRemain = Math.floor(all * Math.max(0, 1 - tick / ticks));
    end(Math.max(0, left() - mayRemain));
    if (left() > 0) await Bun.sleep(tick_ms);
  }
}
