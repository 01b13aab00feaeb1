import { createUnfinished, type Unfinished } from "../limits/unfinished.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";

/** The end of the service, for requests, and what it cuts: the bodies that are still coming, so that no stranger holds it up. */
export interface Ending {
  readonly hasBegun: boolean;
  readonly unfinished: Unfinished;
  /** Ends what is being received at this moment. */
  cut(): void;
  /** Aborted by the first cut. */
  readonly cutting: AbortSignal;
  /** From here on nothing is received any more. */
  begin(): void;
}

export function createEnding(
  settings: Pick<Settings, "max_unfinished_bytes">,
  events: Pick<Events["requests"], "limited">,
): Ending {
  const unfinished = createUnfinished(settings, events);
  const cutting = new AbortController();
  let hasBegun = false;

  function cut(): void {
    cutting.abort();
    unfinished.dropAll(draining());
  }

  return {
    get hasBegun() {
      return hasBegun;
    },
    unfinished,
    cut,
    cutting: cutting.signal,
    begin() {
      hasBegun = true;
      cut();
    },
  };
}

export function draining(): Problem {
  return new Problem("draining");
}
