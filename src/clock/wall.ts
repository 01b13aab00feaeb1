import type { Check } from "../model/check.ts";
import type { Events } from "../observe/events.ts";
import { createElapsed } from "./elapsed.ts";

/** The wall clock, watched by a monotonic one. */
export interface Wall {
  /** As the machine has it. */
  now(): number;
  /**
   * As it would be without the steps of the last ten minutes: a wrong time that lasts three seconds must end nothing. Then the
   * new time counts, because most steps set a clock right.
   */
  believed_ms(): number;
  /** How long this process runs. Never goes back. */
  elapsed_ms(): number;
  /** Compares with the time at which an earlier process stopped writing: a clock cannot have gone back since. */
  compare(stopped_ms: number): void;
  /** How many steps were seen. */
  steps(): number;
  health(): Check;
}

/** A difference between the clocks, from one look to the next, that is more than slewing and rounding. */
const step_ms = 1000;
const suspicion_ms = 10 * 60_000;

/**
 * A step is seen when the wall clock moves by more or less than the monotonic clock. A suspended machine looks the same as a
 * clock that is set forward, because CLOCK_MONOTONIC of Linux stands still meanwhile.
 */
export function createWall({
  now,
  monotonic,
  events,
}: {
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly events: Pick<Events["clock"], "stepped">;
}): Wall {
  const elapsed = createElapsed(monotonic);
  let last = { wall_ms: now(), elapsed_ms: elapsed() };
  /** What the steps of the last minutes come to. */
  let stepped_ms = 0;
  let suspectUntil_ms = -Infinity;
  let latest_ms = 0;
  let steps = 0;

  function look(): { wall_ms: number; elapsed_ms: number } {
    const seen = { wall_ms: now(), elapsed_ms: elapsed() };
    const by_ms = seen.wall_ms - last.wall_ms - (seen.elapsed_ms - last.elapsed_ms);
    last = seen;
    if (seen.elapsed_ms >= suspectUntil_ms) stepped_ms = 0;
    if (Math.abs(by_ms) > step_ms) {
      stepped_ms += by_ms;
      report(by_ms);
    }
    return seen;
  }

  function report(by_ms: number): void {
    steps++;
    latest_ms = by_ms;
    suspectUntil_ms = last.elapsed_ms + suspicion_ms;
    events.stepped(by_ms / 1000);
  }

  return {
    now,
    believed_ms: () => look().wall_ms - stepped_ms,
    elapsed_ms: () => look().elapsed_ms,
    compare(stopped_ms) {
      const by_ms = look().wall_ms - stopped_ms;
      if (by_ms < -step_ms) report(by_ms);
    },
    steps() {
      look();
      return steps;
    },
    health() {
      const { elapsed_ms } = look();
      if (elapsed_ms >= suspectUntil_ms) return { name: "clock", status: "ok" };
      const seconds = Math.round(Math.abs(latest_ms) / 1000);
      const direction = latest_ms > 0 ? "forward (or the machine was suspended)" : "back";
      return { name: "clock", status: "degraded", reason: `the wall clock was set ${direction} by ${seconds} s` };
    },
  };
}
