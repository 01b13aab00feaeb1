import ipaddr from "ipaddr.js";
import type { BunWebSocket } from "../connections/connection.ts";
import type { Gateway } from "../connections/gateway.ts";
import type { Listener } from "./exchange.ts";
import type { Peer } from "./sockets.ts";

/**
 * Which connections are somebody's: the websockets, and those with a request under way. All others have sent nothing, or no
 * whole head, or wait for a next request. Bun names the other end of a request, but neither that of a websocket nor those.
 */
export interface Owners {
  began(req: Request, server: Listener): void;
  ended(req: Request): void;
  /** Follows websockets from the moment at which they open, in these handlers and by `upgrade` of the server. */
  follow<H extends Pick<Gateway["websocket"], "open" | "close">>(handlers: H): H;
  attach(server: Listener): void;
  /** Tells, as of now, whether a connection is somebody's. */
  look(): (peer: Peer) => boolean;
}

export function createOwners(): Owners {
  const underWay = new Map<Request, Listener>();
  const websockets = new Map<BunWebSocket, string>();
  /** Of the request that becomes a websocket in this step: it has no other end any more when `open` is called. */
  let upgrading: string | undefined;

  function follow<H extends Pick<Gateway["websocket"], "open" | "close">>(handlers: H): H {
    return {
      ...handlers,
      open(ws: BunWebSocket) {
        if (upgrading !== undefined) websockets.set(ws, upgrading);
        handlers.open(ws);
      },
      close(ws: BunWebSocket, code: number, reason: string) {
        websockets.delete(ws);
        handlers.close(ws, code, reason);
      },
    };
  }

  function attach(server: Listener): void {
    const upgrade = server.upgrade.bind(server);
    Object.assign(server, {
      upgrade(...args: Parameters<Listener["upgrade"]>): boolean {
        upgrading = peerOf(server, args[0]);
        try {
          return upgrade(...args);
        } finally {
          upgrading = undefined;
        }
      },
    });
  }

  return {
    began: (req, server) => void underWay.set(req, server),
    ended: (req) => void underWay.delete(req),
    follow,
    attach,
    look() {
      const owned = new Set<string | undefined>(websockets.values());
      for (const [req, server] of underWay) owned.add(peerOf(server, req));
      return ({ address, port }) => owned.has(`${address} ${port}`);
    },
  };
}

/** Undefined: it has left. */
function peerOf(server: Listener, req: Request): string | undefined {
  const peer = server.requestIP(req);
  if (peer === null) return undefined;
  const bytes = ipaddr.process(peer.address).toByteArray();
  return `${Buffer.from(bytes).toString("hex")} ${peer.port}`;
}
