import type { BunWebSocket, EngineSocket } from "./connection.ts";

type Transport = EngineSocket["transport"];

/** The native websockets behind transports of the engine, which keeps them to itself. */
export interface WebSockets {
  opened(ws: BunWebSocket): void;
  closed(ws: BunWebSocket): void;
  /** The websocket that an engine connection is on, once; null: it polls. */
  take(engine: EngineSocket): BunWebSocket | null;
  /** Ends a transport's websocket without a close frame, if it was not taken. */
  cut(transport: Transport): void;
}

export function createWebSockets(): WebSockets {
  /** Those that have not been taken. */
  const waiting = new Map<object, BunWebSocket>();
  return {
    opened: (ws) => void waiting.set(ws.data.transport, ws),
    closed: (ws) => void waiting.delete(ws.data.transport),
    take({ transport }) {
      const ws = waiting.get(transport) ?? null;
      waiting.delete(transport);
      return ws;
    },
    cut: (transport) => waiting.get(transport)?.terminate(),
  };
}
