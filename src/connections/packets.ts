import type { BunWebSocket, EngineSocket } from "./connection.ts";

/** What a client may send between two heartbeats. */
export interface ClientLimits {
  readonly messages: number;
  readonly bytes: number;
}

/** Engine.IO's own limit, which it tells clients as `maxPayload`. */
const maxPayloadBytes = 1_000_000;

/**
 * The largest message, and the largest body of a POST. Until one is complete it is kept in memory and not counted below, so
 * that thousands of clients that never finish theirs could hold gigabytes if each of them might have a megabyte.
 */
export function largestMessageBytes(limits: ClientLimits): number {
  return Math.min(maxPayloadBytes, limits.bytes);
}

/** A connection only receives. A client that talks anyway is cut off before it costs much more than its heartbeats. */
export function limitPackets(
  conn: EngineSocket,
  options: {
    limits: ClientLimits;
    interval_ms: number;
    now: () => number;
    onMessage: () => void;
    /** The connection is closed for it. */
    onExceeded: (limit: keyof ClientLimits) => void;
  },
): void {
  const { limits, interval_ms, now, onMessage, onExceeded } = options;
  let messages = 0;
  let bytes = 0;
  let since_ms = now();
  conn.on("packet", ({ type, data }) => {
    const now_ms = now();
    // A clock that is set back begins anew, too, instead of adding up until it has caught up.
    if (Math.abs(now_ms - since_ms) > interval_ms) [messages, bytes, since_ms] = [0, 0, now_ms];
    if (type === "message") onMessage();
    messages += 1;
    // The type of a packet is one character more; a binary one on a websocket has none.
    bytes += data === undefined ? 1 : typeof data === "string" ? 1 + Buffer.byteLength(data) : data.byteLength;
    if (messages <= limits.messages && bytes <= limits.bytes) return;
    onExceeded(messages > limits.messages ? "messages" : "bytes");
    conn.close();
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
