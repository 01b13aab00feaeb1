import { Problem } from "../model/problem.ts";

/** The end of the service, for requests that wait for their client. */
export interface Ending {
  readonly hasBegun: boolean;
  /** Ends what is being received at this moment. */
  cut(): void;
  /** Aborted by the first cut. */
  readonly cutting: AbortSignal;
  /** From here on nothing is received any more. */
  begin(): void;
  /**
   * Resolves as `received` does, which its sender may hold up for as long as it likes: a body that is still coming. Throws
   * `draining` as soon as it is cut, or the end begins, so that no stranger holds up a restart.
   */
  receive<T>(received: Promise<T>): Promise<T>;
}

export function createEnding(): Ending {
  const waiting = new Set<() => void>();
  const cutting = new AbortController();
  let hasBegun = false;

  async function receive<T>(received: Promise<T>): Promise<T> {
    const { promise: ended, reject } = Promise.withResolvers<never>();
    const end = (): void => reject(draining());
    if (hasBegun) end();
    waiting.add(end);
    try {
      return await Promise.race([received, ended]);
    } finally {
      waiting.delete(end);
    }
  }

  function cut(): void {
    cutting.abort();
    for (const end of waiting) end();
  }

  return {
    get hasBegun() {
      return hasBegun;
    },
    cut,
    cutting: cutting.signal,
    begin() {
      hasBegun = true;
      cut();
    },
    receive,
  };
}

/** The connection ends with the answer: what is left of the body is not read, and a client that keeps one open comes back on it. */
export function draining(): Problem {
  return new Problem("draining", { headers: { Connection: "close" } });
}
