import type { Server as Engine } from "@socket.io/bun-engine";
import { WS } from "@socket.io/bun-engine/dist/transports/websocket";
import type { BunWebSocket } from "./connection.ts";

/** Websockets for sessions that are on one already. */
export interface SecondWebSockets {
  /** Takes the one that the engine has refused, if it was such a one. */
  taken(req: Request, server: Bun.Server<BunWebSocket["data"]>): boolean;
  /** Ends it as soon as it is open. */
  ended(ws: BunWebSocket): boolean;
}

/**
 * bun-engine answers them 400. Socket.IO's own engine opens them and ends them, and its public suite of tests relies on it: where a
 * client of Node is refused by a status, nobody listens for its error. There is no close frame, for whose answer Bun would wait.
 */
export function createSecondWebSockets(engine: Engine): SecondWebSockets {
  const refused = new WeakSet<Request>();
  const second = new WeakSet<object>();
  engine.on("connection_error", ({ req, context }) => {
    if (context["name"] === "TRANSPORT_MISMATCH" && req.headers.has("upgrade")) refused.add(req);
  });
  return {
    taken(req, server) {
      if (!refused.has(req)) return false;
      const transport = new WS(engine.opts);
      second.add(transport);
      return server.upgrade(req, { data: { transport } });
    },
    ended(ws) {
      if (!second.has(ws.data.transport)) return false;
      ws.terminate();
      return true;
    },
  };
}
