import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** Wall clocks that are set while the service runs. */
export function clockEvents(log: Log, metrics: Metrics) {
  const steps = metrics.counter("clock_steps_total", "Steps of the wall clock by direction.", "direction");
  return {
    /** Negative: the clock was set back. */
    stepped(by_seconds: number): void {
      steps.inc({ direction: by_seconds > 0 ? "forward" : "back" });
      log.warn("clock stepped", { by_seconds });
    },
  };
}
