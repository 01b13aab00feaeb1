import type { EngineSocket } from "./connection.ts";

const packetsPerInterval = 100;

/** A connection only receives. A client that talks anyway is cut off before it costs much more than its heartbeats. */
export function limitPackets(
  conn: EngineSocket,
  options: { now: () => number; interval_ms: number; onMessage: () => void },
): void {
  let count = 0;
  let since_ms = options.now();
  conn.on("packet", ({ type }) => {
    const now_ms = options.now();
    if (now_ms - since_ms > options.interval_ms) [count, since_ms] = [0, now_ms];
    if (type === "message") options.onMessage();
    if (++count > packetsPerInterval) conn.close();
  });
}
