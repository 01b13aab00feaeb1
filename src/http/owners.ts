import ipaddr from "ipaddr.js";
import type { BunWebSocket } from "../connections/connection.ts";
import type { Gateway } from "../connections/gateway.ts";
import type { Listener } from "./exchange.ts";
import type { Peer } from "./sockets.ts";

/**
 * Which connections are somebody's: the websockets, those with a request under way, and those that are kept for the next one.
 * All others have sent nothing, or no whole head. Bun names the other end of a request, but neither that of a websocket nor those.
 */
export interface Owners {
  began(req: Request, server: Listener): void;
  ended(req: Request): void;
  /** The connection waits for the next request of a sender of valid credentials, or of a declared proxy. */
  kept(req: Request, server: Listener): void;
  /** Follows websockets from the moment at which they open, in these handlers and by `upgrade` of the server. */
  follow<H extends Pick<Gateway["websocket"], "open" | "close">>(handlers: H): H;
  attach(server: Listener): void;
  /** Tells, as of now, whose a connection is. */
  look(): (peer: Peer) => Owned;
}

/** In use; kept for its next request; or a stranger's who has said nothing yet, or nothing more. */
export type Owned = "used" | "kept" | "idle";

/** So many connections are remembered as kept, twice, until newer ones take their place. */
const mostKept = 10_000;

export function createOwners(): Owners {
  const underWay = new Map<Request, Listener>();
  const websockets = new Map<BunWebSocket, string>();
  /** The other ends of the connections that were kept last, as Bun writes them: Bun does not tell when one ends. */
  let [kept, keptBefore] = [new Map<string, string>(), new Map<string, string>()];
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
    kept(req, server) {
      const peer = server.requestIP(req);
      if (peer === null) return;
      const name = `${peer.address} ${peer.port}`;
      if (kept.has(name)) return;
      kept.set(name, spell(peer));
      if (kept.size >= mostKept) [kept, keptBefore] = [new Map(), kept];
    },
    follow,
    attach,
    look() {
      const used = new Set<string | undefined>(websockets.values());
      for (const [req, server] of underWay) used.add(peerOf(server, req));
      const waiting = new Set([...kept.values(), ...keptBefore.values()]);
      return ({ address, port }) => {
        const peer = `${address} ${port}`;
        return used.has(peer) ? "used" : waiting.has(peer) ? "kept" : "idle";
      };
    },
  };
}

/** Undefined: it has left. */
function peerOf(server: Listener, req: Request): string | undefined {
  const peer = server.requestIP(req);
  return peer === null ? undefined : spell(peer);
}

/** As the kernel's own bytes are written in `Peer`. */
function spell({ address, port }: Bun.SocketAddress): string {
  return `${Buffer.from(ipaddr.process(address).toByteArray()).toString("hex")} ${port}`;
}
