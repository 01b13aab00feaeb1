import type { Socket as EngineSocket } from "@socket.io/bun-engine/dist/socket";
import type { BunWebSocket } from "@socket.io/bun-engine/dist/transports/websocket";
import type { Socket } from "socket.io";
import type { Admitted } from "../model/grant.ts";

export type { BunWebSocket, EngineSocket };

/** One Socket.IO socket of one user on one channel. */
export interface Connection extends Admitted {
  /** For log lines. Its page knows it as `socket.id`. */
  readonly id: string;
  /** Where its handshake came from. */
  readonly address: string;
  readonly connected_ms: number;
  /** The client's name for its line of connections: it comes back with it. */
  readonly pid: string;
  readonly socket: Socket;
  readonly engine: EngineSocket;
  /** Null while the connection is polling; then it is written through the engine. */
  ws: BunWebSocket | null;
  /** What waits for the next poll; always 0 on a websocket, where Bun keeps the backlog. */
  backlog_bytes: number;
  /** Notifications that were handed to it; those to its whole channel are added when it leaves: see `Members.publishing`. */
  delivered: number;
  /** How many its channel had been given when it joined. */
  publishedBefore: number;
  /** Why the service ends it; undefined: it does not. */
  ending: string | undefined;
}
