import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { BunWebSocket, EngineSocket } from "./connection.ts";
import { endFor, whoOn, type Session } from "./sessions.ts";

/** What a client may send between two heartbeats, in messages and bytes. */
export type ClientLimits = Pick<Settings, "max_client_messages" | "max_client_bytes">;

/** Engine.IO's own limit, which it tells clients as `maxPayload`. */
const maxPayload_bytes = 1_000_000;

/**
 * The largest message, and the largest body of a POST. Until one is complete it is kept in memory and not counted below, so
 * that thousands of clients that never finish theirs could hold gigabytes if each of them might have a megabyte.
 */
export function largestMessage_bytes({ max_client_bytes }: ClientLimits): number {
  return Math.min(maxPayload_bytes, max_client_bytes);
}

/** A connection only receives. A client that talks anyway is cut off before it costs much more than its heartbeats. */
export function limitPackets(
  session: Session,
  { max_client_messages, max_client_bytes, ping_interval_ms }: ClientLimits & Pick<Settings, "ping_interval_ms">,
  { events, now }: { events: Pick<Events["connections"], "dropped" | "sentTooMuch">; now: () => number },
): void {
  const { engine } = session;
  let messages = 0;
  let bytes = 0;
  let since_ms = now();
  engine.on("packet", ({ type, data }) => {
    const now_ms = now();
    // A clock that is set back begins anew, too, instead of adding up until it has caught up.
    if (Math.abs(now_ms - since_ms) > ping_interval_ms) [messages, bytes, since_ms] = [0, 0, now_ms];
    // The first message is its CONNECT; it may send others, but nobody listens.
    if (type === "message" && session.phase.name !== "open") events.dropped();
    messages += 1;
    // The type of a packet is one character more; a binary one on a websocket has none.
    bytes += data === undefined ? 1 : typeof data === "string" ? 1 + Buffer.byteLength(data) : data.byteLength;
    if (messages <= max_client_messages && bytes <= max_client_bytes) return;
    const limit = messages > max_client_messages ? "max_client_messages" : "max_client_bytes";
    events.sentTooMuch(limit, whoOn(session));
    endFor(session, limit);
    engine.close();
  });
}

/**
 * Keeps one timer for the heartbeats of a connection. bun-engine starts another with each answer that comes before its first
 * heartbeat, and with one that comes as the connection ends, and stops only the last: a hundred of them keep 35 KiB for three quarters
 * of a minute after the end, where no limit counts them.
 */
export function scheduleOnce(engine: EngineSocket): void {
  engine["schedulePing"] = () => {
    if (engine.readyState === "open") engine["pingIntervalTimer"]?.refresh();
  };
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
