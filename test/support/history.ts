import * as fc from "fast-check";
import { seeded } from "./random.ts";
import { report, scale } from "./scale.ts";

/**
 * Makes up histories of steps, and expects that `replay` throws for none of them. Where it does, the history is made as short and
 * simple as possible, and printed with its seed and path: SEED repeats all of it.
 */
export function expectOfHistories<T>(
  step: fc.Arbitrary<T>,
  maxSteps: number,
  replay: (steps: readonly T[]) => void,
): void {
  const history = fc.array(step, { maxLength: maxSteps, size: "max" });
  const { seed } = seeded();
  fc.assert(fc.property(history, replay), { numRuns: scale.modelRuns, includeErrorInReport: true, seed });
  report(`${scale.modelRuns} histories of at most ${maxSteps} steps, SEED=${seed}`);
}
