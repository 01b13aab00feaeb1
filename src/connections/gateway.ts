import { Server as Engine } from "@socket.io/bun-engine";
import { Adapter } from "socket.io-adapter";
import { Server, type Socket } from "socket.io";
import type { Channel, KeycloakId } from "../model/names.ts";
import { closings, refusals, type ClosingCode, type RefusalCode } from "../model/refusal.ts";
import type { BunWebSocket, Connection, EngineSocket } from "./connection.ts";
import type { Fanout } from "./fanout.ts";
import type { Registry } from "./registry.ts";

/** A page that may connect. */
export interface Admitted {
  readonly user: KeycloakId;
  readonly channel: Channel;
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
}

export interface GatewayNeeds {
  readonly admit: (auth: unknown) => Admitted | RefusalCode;
  readonly isRevoked: (user: KeycloakId, issuedAt_ms: number) => boolean;
  readonly registry: Registry<Connection>;
  readonly fanout: Fanout;
  readonly limits: {
    readonly connectionsPerUser: number;
    readonly connectTimeout_ms: number;
    readonly pingInterval_ms: number;
    readonly pingTimeout_ms: number;
  };
  readonly now: () => number;
  readonly on: GatewayEvents;
}

export interface GatewayEvents {
  readonly connected: (connection: Connection) => void;
  readonly disconnected: (connection: Connection, reason: string) => void;
  readonly refused: (code: RefusalCode) => void;
  readonly closing: (connection: Connection, code: ClosingCode) => void;
  readonly dropped: () => void;
}

export interface Gateway {
  /** Takes every request below `/socket.io/` that is Engine.IO's. */
  handle(req: Request, server: Bun.Server<BunWebSocket["data"]>): Promise<Response>;
  readonly websocket: {
    open(ws: BunWebSocket): void;
    message(ws: BunWebSocket, message: string | Buffer): void;
    close(ws: BunWebSocket, code: number, reason: string): void;
  };
  /** Tells the client why, and ends the connection so that it comes back, or stays away, as the code says. */
  close(connection: Connection, code: ClosingCode): void;
  /** Ends every engine connection, those without a Socket.IO connection too. */
  closeAll(): void;
  /** Engine connections: the same, and those that have not sent their CONNECT yet. */
  readonly sessions: number;
}

/** An engine connection, from its handshake on. */
interface Session {
  readonly engine: EngineSocket;
  /** Set by the first CONNECT: there is one in the life of an engine connection. */
  claimed: boolean;
  admitted: Admitted | null;
}

const packetsPerInterval = 100;
const longestTimer_ms = 2 ** 31 - 1;

/** Rooms are not used: fan-out has its own, native ones. Socket.IO's would cost two sets and a map entry a connection. */
class NoRooms extends Adapter {
  override addAll(): void {}
  override del(): void {}
  override delAll(): void {}
}

/** Socket.IO on the Bun engine: handshake → authorization → live. */
export function createGateway(needs: GatewayNeeds): Gateway {
  const { registry, fanout, limits } = needs;
  const engine = new Engine({
    path: "/socket.io/",
    pingInterval: limits.pingInterval_ms,
    pingTimeout: limits.pingTimeout_ms,
  });
  const io = new Server({ serveClient: false, connectTimeout: limits.connectTimeout_ms, adapter: NoRooms });
  const sessions = new Map<object, Session>();
  /** Websockets whose engine connection has not been matched to a connection of ours. */
  const unmatched = new Map<object, BunWebSocket>();

  // Before Socket.IO's own listener, so that a CONNECT always finds its session.
  engine.on("connection", (conn) => {
    sessions.set(conn, { engine: conn, claimed: false, admitted: null });
    limitPackets(conn);
    conn.on("close", () => sessions.delete(conn));
  });
  io.bind(engine);
  io.use(authorize);
  io.on("connection", connect);

  /** A connection only receives. A client that talks anyway is cut off before it costs more than its heartbeats. */
  function limitPackets(conn: EngineSocket): void {
    let count = 0;
    let since_ms = needs.now();
    conn.on("packet", (packet) => {
      const now_ms = needs.now();
      if (now_ms - since_ms > limits.pingInterval_ms) [count, since_ms] = [0, now_ms];
      if (packet.type === "message" && sessions.get(conn)?.claimed === true) needs.on.dropped();
      if (++count > packetsPerInterval) conn.close();
    });
  }

  function authorize(socket: Socket, next: (error?: Error) => void): void {
    const session = sessions.get(socket.conn);
    if (session === undefined || session.claimed) {
      socket.conn.close();
      // Called even so: Socket.IO forgets a socket only after its last middleware has answered.
      return next(new Error("one CONNECT per connection"));
    }
    session.claimed = true;
    const admitted = judge(socket.handshake.auth);
    if (typeof admitted === "string") {
      needs.on.refused(admitted);
      return next(Object.assign(new Error(refusals[admitted]), { data: { code: admitted } }));
    }
    session.admitted = admitted;
    next();
  }

  function judge(auth: unknown): Admitted | RefusalCode {
    const admitted = needs.admit(auth);
    if (typeof admitted === "string") return admitted;
    const isFull = registry.ofUser(admitted.user).length >= limits.connectionsPerUser;
    return isFull ? "too_many_connections" : admitted;
  }

  /** Runs in the same step in which Socket.IO writes the CONNECT: from here on the connection gets all that is for it. */
  function connect(socket: Socket): void {
    const session = sessions.get(socket.conn);
    if (session === undefined || session.admitted === null) return void socket.disconnect(true);
    const { engine: conn, admitted } = session;
    session.admitted = null;
    const { user, channel, expiresAt_ms } = admitted;
    const connection: Connection = { user, channel, expiresAt_ms, socket, engine: conn, ws: null, backlogBytes: 0 };
    forgetHandshake(connection);
    connection.ws = takeWebSocket(conn);
    fanout.join(connection);
    conn.on("upgrade", () => {
      const ws = takeWebSocket(conn);
      if (ws !== null) fanout.upgrade(connection, ws);
    });
    const expiry = armExpiry(connection);
    socket.on("disconnect", (reason) => {
      expiry.stop();
      fanout.leave(connection);
      needs.on.disconnected(connection, reason);
      // A client that left the namespace but keeps its engine open has nothing to wait for: no second CONNECT is taken.
      setTimeout(() => conn.close(), limits.connectTimeout_ms).unref();
    });
    needs.on.connected(connection);
    expiry.start();
    // A revocation may have come between the check and this step; it did not find the connection in the registry.
    if (needs.isRevoked(user, admitted.issuedAt_ms)) close(connection, "revoked");
  }

  function takeWebSocket(conn: EngineSocket): BunWebSocket | null {
    const ws = unmatched.get(conn.transport) ?? null;
    unmatched.delete(conn.transport);
    return ws;
  }

  function armExpiry(connection: Connection): { start: () => void; stop: () => void } {
    let timer: Timer | undefined;
    const start = (): void => {
      const rest_ms = connection.expiresAt_ms - needs.now();
      if (rest_ms <= 0) return close(connection, "token_expired");
      // setTimeout takes 31 bits, and fires at once for more.
      timer = setTimeout(start, Math.min(rest_ms, longestTimer_ms));
    };
    return { start, stop: () => clearTimeout(timer) };
  }

  function close(connection: Connection, code: ClosingCode): void {
    const { reconnect } = closings[code];
    needs.on.closing(connection, code);
    connection.socket.emit("closing", { code, reconnect });
    // Not left to the events of the close: a polling client may take its time to fetch what is still buffered.
    fanout.leave(connection);
    if (reconnect) connection.engine.close();
    else connection.socket.disconnect(true);
  }

  return {
    handle: (req, server) => engine.handleRequest(req, server),
    websocket: {
      open(ws) {
        unmatched.set(ws.data.transport, ws);
        engine.onWebSocketOpen(ws);
      },
      message(ws, message) {
        engine.onWebSocketMessage(ws, message);
      },
      close(ws, code, reason) {
        unmatched.delete(ws.data.transport);
        engine.onWebSocketClose(ws, code, reason);
      },
    },
    close,
    closeAll: () => engine.close(),
    get sessions() {
      return sessions.size;
    },
  };
}

/** Headers, query and token are not needed any more: they would stay in memory, some KiB, as long as the connection does. */
function forgetHandshake({ socket, engine }: Connection): void {
  Object.assign(socket, { handshake: undefined });
  Object.assign(engine, { request: undefined });
}
