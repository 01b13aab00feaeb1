import type { Log } from "./log.ts";
import type { SharedCounters } from "./metrics.ts";

/** What the system allows the process. */
export function processEvents(log: Log, { limited }: Pick<SharedCounters, "limited">) {
  return {
    /** Fewer than the connections that the settings allow would need. */
    descriptorsFew(given: { descriptors: number; max_connections: number }): void {
      const reason =
        "connections will be refused before max_connections: raise LimitNOFILE (ulimit -n), or lower max_connections";
      log.warn("few descriptors", { ...given, reason });
    },
    descriptorsShort(now: { used: number; most: number }): void {
      const reason =
        "connections are ended or refused to keep some free: raise LimitNOFILE (ulimit -n), or stop a flood";
      log.warn("descriptors running out", { ...now, reason });
    },
    descriptorsEnough: (now: { used: number; most: number }): void => log.info("descriptors free again", now),
    /** So many connections whose request was not there, or not whole, were ended for it. */
    descriptorsFreed: (connections: number): void => limited.inc({ limit: "descriptors" }, connections),
    /** Nothing will be ended when they run out. */
    descriptorsUnwatched: (reason: string): void => log.warn("descriptors not watched", { reason }),
  };
}
