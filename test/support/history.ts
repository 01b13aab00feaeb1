import * as fc from "fast-check";
import { scale } from "./scale.ts";

const { SEED } = process.env;

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
  fc.assert(fc.property(history, replay), {
    numRuns: scale.modelRuns,
    includeErrorInReport: true,
    ...(SEED !== undefined && { seed: Number(SEED) }),
  });
}
