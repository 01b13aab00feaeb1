import type { BunWebSocket, EngineSocket } from "./connection.ts";

type Transport = EngineSocket["transport"];

/** The native websockets behind transports of the engine, which keeps them to itself. */
export interface WebSockets {
  opened(ws: BunWebSocket): void;
  closed(ws: BunWebSocket): void;
  /** The websocket that an engine connection is on, once; null: it polls. */
  take(engine: EngineSocket): BunWebSocket | null;
  /**
   * Lets an engine connection end without a close frame as long as its websocket was not taken: for the answer to one Bun waits up
   * to 17 s, and all that time keeps what has come of a message that never ends, where no limit counts it.
   */
  endAtOnce(engine: EngineSocket): void;
  /** Ends a transport's websocket without a close frame, if it was not taken. */
  cut(transport: Transport): void;
}

export function createWebSockets(): WebSockets {
  /** Those that have not been taken. */
  const waiting = new Map<object, BunWebSocket>();

  const cut = (transport: Transport): void => waiting.get(transport)?.terminate();

  return {
    opened: (ws) => void waiting.set(ws.data.transport, ws),
    closed: (ws) => void waiting.delete(ws.data.transport),
    take({ transport }) {
      const ws = waiting.get(transport) ?? null;
      waiting.delete(transport);
      return ws;
    },
    endAtOnce({ transport }) {
      if (transport.name === "websocket") Object.assign(transport, { doClose: () => cut(transport) });
    },
    cut,
  };
}
