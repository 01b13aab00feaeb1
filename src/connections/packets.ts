import type { BunWebSocket, EngineSocket } from "./connection.ts";

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

/**
 * A client probes a websocket once. bun-engine starts a timer with each probe and stops only the last, so that every other
 * would run, and hold its session, until the process ends; and what a probing websocket says is not counted as above.
 */
export function limitProbes<H extends { message(ws: BunWebSocket, message: string | Buffer): void }>(handlers: H): H {
  const probed = new WeakSet<object>();
  return {
    ...handlers,
    message(ws: BunWebSocket, message: string | Buffer) {
      if (message === "2probe") {
        if (probed.has(ws.data.transport)) return ws.close();
        probed.add(ws.data.transport);
      }
      handlers.message(ws, message);
    },
  };
}
