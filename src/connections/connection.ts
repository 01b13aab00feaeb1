import type { Socket as EngineSocket } from "@socket.io/bun-engine/dist/socket";
import type { BunWebSocket } from "@socket.io/bun-engine/dist/transports/websocket";
import type { Socket } from "socket.io";
import type { Admitted } from "../model/grant.ts";

export type { BunWebSocket, EngineSocket };

/** One Socket.IO socket of one user on one channel. */
export interface Connection extends Admitted {
  /** The client's name for its line of connections: it comes back with it. */
  readonly pid: string;
  readonly socket: Socket;
  readonly engine: EngineSocket;
  /** Null while the connection is polling; then it is written through the engine. */
  ws: BunWebSocket | null;
  /** What waits for the next poll; always 0 on a websocket, where Bun keeps the backlog. */
  backlog_bytes: number;
}
