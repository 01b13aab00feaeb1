import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { BunWebSocket, Connection, EngineSocket } from "./connection.ts";
import type { Members } from "./members.ts";
import type { Registry } from "./registry.ts";

/** What connections have not been sent yet: each within `backlog_bytes`, all together within `backlog_total_bytes`. */
export interface Backlog {
  /** Follows a connection on the transport that it has now. Before anything is written to it. */
  follow(connection: Connection): void;
  /**
   * Looks at how far a connection lags, after something was written to it. Too far, it leaves before anything is lost on the
   * way to it, so that nothing newer follows a gap. What waits still reaches its client, if that reads on soon.
   */
  look(connection: Connection): void;
  /** After all looks of a step: ends connections, the one that lags most first, as long as all together lag too far. */
  settle(): void;
  /** Bun has sent something of what waited for this websocket. */
  drained(ws: BunWebSocket): void;
  closed(ws: BunWebSocket, code: number): void;
  /** Forgets connections that have been sent everything, or have ended. */
  tidy(): void;
  /** As many bytes as there may be belong to websockets that have ended: nobody can be ended to make room. */
  readonly isFull: boolean;
  readonly bytes: number;
}

export type BacklogSettings = Pick<Settings, "backlog_bytes" | "backlog_total_bytes" | "ping_timeout_ms">;

/**
 * So long Bun keeps what a websocket was not sent after a close frame, its own or the client's (measured: 15–17 s), and has no
 * call to drop it earlier.
 */
const longestClose_ms = 17_000;
/** Of `backlog_total_bytes`, in addition to it. */
const endedShare = 1 / 4;
/** What Bun reports for a websocket that ended without a close frame. Its bytes are gone at once. */
const abnormal = 1006;

interface Lag {
  readonly connection: Connection;
  bytes: number;
}

export function createBacklog(
  { backlog_bytes, backlog_total_bytes, ping_timeout_ms }: BacklogSettings,
  needs: {
    readonly registry: Pick<Registry<Connection>, "has">;
    readonly members: Pick<Members, "leave" | "close">;
    readonly events: Pick<Events["connections"], "overflowed">;
  },
): Backlog {
  const { registry, members, events } = needs;
  /** By transport: of a connection that has upgraded, the former one is nothing any more. */
  const lagging = new Map<EngineSocket["transport"], Lag>();
  /** Have left in this step, and are told why after it. */
  const leaving = new Set<Connection>();
  /** Have ended, and are closed as soon as they have been sent the rest. */
  const ending = new WeakSet<BunWebSocket>();
  let bytes = 0;
  let closing_bytes = 0;

  function follow(connection: Connection): void {
    const { engine, ws } = connection;
    // Bun would keep the rest of an ended websocket out of our sight, and 300 that do not read have hundreds of MiB.
    if (ws !== null) return void Object.assign(engine.transport, { doClose: () => end(connection, ws) });
    // An upgrade drains, too: what waited has moved to the websocket by then.
    engine.on("drain", () => {
      connection.backlog_bytes = 0;
      record(connection, bytesOf(connection));
    });
  }

  function record(connection: Connection, now_bytes: number): void {
    const { transport } = connection.engine;
    const lag = lagging.get(transport);
    const before_bytes = lag?.bytes ?? 0;
    if (now_bytes === before_bytes) return;
    bytes += now_bytes - before_bytes;
    if (lag === undefined) return void lagging.set(transport, { connection, bytes: now_bytes });
    lag.bytes = now_bytes;
    if (now_bytes === 0) lagging.delete(transport);
  }

  function forget(transport: EngineSocket["transport"]): number {
    const lag_bytes = lagging.get(transport)?.bytes ?? 0;
    lagging.delete(transport);
    bytes -= lag_bytes;
    return lag_bytes;
  }

  function look(connection: Connection): void {
    const now_bytes = bytesOf(connection);
    record(connection, now_bytes);
    if (now_bytes > backlog_bytes && registry.has(connection)) leave(connection, "backlog_bytes");
  }

  function leave(connection: Connection, limit: "backlog_bytes" | "backlog_total_bytes"): void {
    members.leave(connection);
    events.overflowed(connection, limit);
    leaving.add(connection);
    // Not in this step: to end a connection calls back into what is under way.
    queueMicrotask(() => {
      leaving.delete(connection);
      members.close(connection, "overloaded");
    });
  }

  function tidy(): void {
    for (const [transport, { connection }] of lagging) {
      if (connection.engine.transport === transport) record(connection, bytesOf(connection));
      else forget(transport);
    }
  }

  /**
   * What connections that have ended were not sent yet still waits for them, `closing` included, but only up to a share of
   * its own: they could go on without end, each leaving something.
   */
  function settle(): void {
    if (bytes + closing_bytes <= backlog_total_bytes) return;
    tidy();
    const byLag = [...lagging.values()].toSorted((a, b) => b.bytes - a.bytes);
    const live = byLag.filter(({ connection }) => registry.has(connection));
    const ended = byLag.filter(({ connection }) => !registry.has(connection) && !leaving.has(connection));
    for (const { connection } of excess(ended, 0, backlog_total_bytes * endedShare)) cut(connection);
    for (const { connection } of excess(live, closing_bytes, backlog_total_bytes))
      leave(connection, "backlog_total_bytes");
  }

  function cut({ engine, ws }: Connection): void {
    forget(engine.transport);
    if (ws === null) engine.transport.close();
    else ws.terminate();
  }

  function end(connection: Connection, ws: BunWebSocket): void {
    const now_bytes = bytesOf(connection);
    record(connection, now_bytes);
    if (now_bytes === 0) return ws.close();
    if (ending.has(ws)) return;
    ending.add(ws);
    setTimeout(() => ws.terminate(), ping_timeout_ms).unref();
  }

  function drained(ws: BunWebSocket): void {
    const lag = lagging.get(ws.data.transport);
    if (lag === undefined) return;
    record(lag.connection, bytesOf(lag.connection));
    if (lag.bytes === 0 && ending.has(ws)) ws.close();
  }

  function closed(ws: BunWebSocket, code: number): void {
    const rest_bytes = forget(ws.data.transport);
    if (rest_bytes === 0 || code === abnormal) return;
    closing_bytes += rest_bytes;
    setTimeout(() => (closing_bytes -= rest_bytes), longestClose_ms).unref();
  }

  return {
    follow,
    look,
    settle,
    drained,
    closed,
    tidy,
    get isFull() {
      return closing_bytes >= backlog_total_bytes;
    },
    get bytes() {
      return bytes + closing_bytes;
    },
  };
}

/** The first of them, as many as have to go for the rest to be within the limit. */
function excess(lags: readonly Lag[], more_bytes: number, limit_bytes: number): Lag[] {
  let left_bytes = lags.reduce((sum, { bytes }) => sum + bytes, more_bytes);
  return lags.filter(({ bytes }) => {
    const isOver = left_bytes > limit_bytes;
    if (isOver) left_bytes -= bytes;
    return isOver;
  });
}

/** What waits for the next poll, or in Bun. */
function bytesOf({ ws, engine, backlog_bytes }: Connection): number {
  if (ws !== null) return ws.getBufferedAmount();
  return engine.readyState === "closed" ? 0 : backlog_bytes;
}
