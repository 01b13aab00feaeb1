import { Server as Engine } from "@socket.io/bun-engine";
import { Adapter } from "socket.io-adapter";
import { Server, type Socket } from "socket.io";
import type { NotificationEntry } from "../model/entry.ts";
import type { Admitted } from "../model/grant.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import { closings, refusals, type ClosingCode, type RefusalCode } from "../model/refusal.ts";
import type { BunWebSocket, Connection, EngineSocket } from "./connection.ts";
import { armExpiry } from "./expiry.ts";
import type { Fanout } from "./fanout.ts";
import { largestMessageBytes, limitPackets, limitProbes, type ClientLimits } from "./packets.ts";
import type { Resumption } from "./recovery.ts";
import type { Registry } from "./registry.ts";
import { endLater, forgetHandshake, type Sessions } from "./sessions.ts";
import { endUpgradeWithSession } from "./upgrade.ts";

export interface GatewayNeeds {
  readonly admit: (auth: unknown) => Admitted | RefusalCode;
  /** What was good at the check may be good no more. */
  readonly endingOf: (admitted: Admitted) => ClosingCode | undefined;
  /** Where a client that connects continues. Asked in the step that writes its CONNECT. */
  readonly resume: (auth: unknown, user: KeycloakId, channel: Channel) => Resumption;
  /** What is held for the user on the channel, once what he is known to have is left out. */
  readonly waiting: (user: KeycloakId, channel: Channel, confirmed: number | undefined) => readonly NotificationEntry[];
  readonly registry: Registry<Connection>;
  readonly fanout: Fanout;
  readonly sessions: Sessions;
  /** What limits per address count a handshake by; undefined: they are off for it. */
  readonly addressOf: (req: Request, server: Bun.Server<BunWebSocket["data"]>) => string | undefined;
  readonly limits: {
    readonly connectionsPerUser: number;
    readonly connectTimeout_ms: number;
    readonly pingInterval_ms: number;
    readonly pingTimeout_ms: number;
    readonly client: ClientLimits;
  };
  readonly now: () => number;
  readonly on: GatewayEvents;
}

export interface GatewayEvents {
  readonly connected: (connection: Connection, resumption: Resumption) => void;
  readonly disconnected: (connection: Connection, reason: string) => void;
  /** By its address: it may have tried out a token. */
  readonly refused: (code: RefusalCode, address: string | undefined) => void;
  readonly closing: (connection: Connection, code: ClosingCode) => void;
  readonly dropped: () => void;
  /** A client has sent more than it may: its connection is closed. */
  readonly exceeded: (limit: keyof ClientLimits) => void;
}

export interface Gateway {
  /** Takes every request below `/socket.io/` that is Engine.IO's. */
  handle(req: Request, server: Bun.Server<BunWebSocket["data"]>): Promise<Response>;
  readonly websocket: {
    open(ws: BunWebSocket): void;
    message(ws: BunWebSocket, message: string | Buffer): void;
    close(ws: BunWebSocket, code: number, reason: string): void;
    readonly maxPayloadLength: number;
  };
  /** Tells the client why, and ends the connection so that it comes back, or stays away, as the code says. */
  close(connection: Connection, code: ClosingCode): void;
  /** Ends every engine connection, those without a Socket.IO connection too. */
  closeAll(): void;
}

/** Socket.IO on the Bun engine: handshake → authorization → live. */
export function createGateway(needs: GatewayNeeds): Gateway {
  const { registry, fanout, sessions, limits } = needs;

  /**
   * Rooms are not used: fan-out has its own, native ones, and Socket.IO's would cost two sets and a map entry a connection.
   * Joining one's own room is the last thing that Socket.IO does before it writes the CONNECT, in the same step.
   */
  class BeforeConnect extends Adapter {
    override addAll(id: string): void {
      const socket = io.sockets.sockets.get(id);
      if (socket !== undefined) decide(socket);
    }
    override del(): void {}
    override delAll(): void {}
  }

  const engine = new Engine({
    path: "/socket.io/",
    pingInterval: limits.pingInterval_ms,
    pingTimeout: limits.pingTimeout_ms,
    upgradeTimeout: limits.connectTimeout_ms,
  });
  const io = new Server({ serveClient: false, connectTimeout: limits.connectTimeout_ms, adapter: BeforeConnect });
  const byPid = new Map<string, Connection>();
  /** Websockets whose engine connection has not been matched to a connection of ours. */
  const unmatched = new Map<object, BunWebSocket>();

  // Before Socket.IO's own listener, so that a CONNECT always finds its session.
  engine.on("connection", (conn, req, server) => {
    sessions.open(conn, needs.addressOf(req, server));
    endUpgradeWithSession(conn, (transport) => unmatched.get(transport)?.terminate());
    limitPackets(conn, {
      limits: limits.client,
      interval_ms: limits.pingInterval_ms,
      now: needs.now,
      onMessage: () => onMessage(conn),
      onExceeded: needs.on.exceeded,
    });
  });
  io.bind(engine);
  io.use(authorize);
  io.on("connection", connect);

  /** The first message is its CONNECT; it may send others, but nobody listens. */
  function onMessage(conn: EngineSocket): void {
    if (sessions.get(conn)?.claimed === true) needs.on.dropped();
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
      needs.on.refused(admitted, session.address);
      // Socket.IO's own timeout waits until the refusal was fetched.
      endLater(session.engine, limits.connectTimeout_ms);
      return next(Object.assign(new Error(refusals[admitted]), { data: { code: admitted } }));
    }
    session.admitted = admitted;
    next();
  }

  function judge(auth: unknown): Admitted | RefusalCode {
    const admitted = needs.admit(auth);
    if (typeof admitted === "string") return admitted;
    const others = registry.ofUser(admitted.user).length - (leftBehind(auth, admitted) === undefined ? 0 : 1);
    return others >= limits.connectionsPerUser ? "too_many_connections" : admitted;
  }

  /**
   * The connection that a client which is back was cut off from, although we have not noticed: it makes way for the new one.
   * What it still gets, nobody reads; and if it counted, a user at his limit could never come back.
   */
  function leftBehind(auth: unknown, { user, channel }: Admitted): Connection | undefined {
    const { pid }: { pid?: unknown } = Object(auth);
    const old = typeof pid === "string" ? byPid.get(pid) : undefined;
    return old?.user === user && old.channel === channel ? old : undefined;
  }

  /** Decides where the client continues, just before its CONNECT is written with the `pid` that tells it. */
  function decide(socket: Socket): void {
    const session = sessions.get(socket.conn);
    if (session === undefined || session.admitted === null) return;
    const { auth } = socket.handshake;
    const { user, channel } = session.admitted;
    session.leftBehind = leftBehind(auth, session.admitted);
    session.resumption = needs.resume(auth, user, channel);
    Object.assign(socket, { pid: session.resumption.pid });
  }

  /** Follows the CONNECT in the same step: replay, then live. From here on the connection gets all that is for it. */
  function connect(socket: Socket): void {
    const session = sessions.get(socket.conn);
    if (session === undefined || session.admitted === null || session.resumption === null)
      return void socket.disconnect(true);
    const { engine: conn, admitted, resumption } = session;
    const { user, channel } = admitted;
    const { pid } = resumption;
    const ws = takeWebSocket(conn);
    const connection: Connection = { ...admitted, pid, socket, engine: conn, ws, backlogBytes: 0 };
    if (session.leftBehind !== undefined) leave(session.leftBehind);
    session.leftBehind?.engine.close();
    forgetHandshake(connection, session);
    // A revocation may have come between the check and this step; it did not find the connection in the registry.
    const ending = needs.endingOf(connection);
    if (ending !== undefined) return close(connection, ending);
    sessions.authenticated(session);
    byPid.set(pid, connection);
    const waiting = needs.waiting(user, channel, resumption.confirmed);
    fanout.replay(connection, resumption.recovered ? waiting.filter((e) => e.sequence <= resumption.since) : waiting);
    fanout.replay(connection, resumption.missed);
    fanout.join(connection);
    conn.on("upgrade", () => {
      const upgraded = takeWebSocket(conn);
      if (upgraded !== null) fanout.upgrade(connection, upgraded);
    });
    const expiry = armExpiry(connection, needs.now, () => close(connection, "token_expired"));
    socket.on("disconnect", (reason) => {
      expiry.stop();
      leave(connection);
      needs.on.disconnected(connection, reason);
      // A client that left the namespace but keeps its engine open has nothing to wait for: no second CONNECT is taken.
      // (One whose engine has ended, the common case, must not stay in memory for a timer.)
      endLater(conn, limits.connectTimeout_ms);
    });
    needs.on.connected(connection, resumption);
    expiry.start();
  }

  function leave(connection: Connection): void {
    fanout.leave(connection);
    if (byPid.get(connection.pid) === connection) byPid.delete(connection.pid);
  }

  function takeWebSocket(conn: EngineSocket): BunWebSocket | null {
    const ws = unmatched.get(conn.transport) ?? null;
    unmatched.delete(conn.transport);
    return ws;
  }

  function close(connection: Connection, code: ClosingCode): void {
    const { reconnect } = closings[code];
    needs.on.closing(connection, code);
    connection.socket.emit("closing", { code, reconnect });
    // Not left to the events of the close: a polling client may take its time to fetch what is still buffered.
    leave(connection);
    if (reconnect) connection.engine.close();
    else connection.socket.disconnect(true);
  }

  return {
    handle: (req, server) => engine.handleRequest(req, server),
    websocket: limitProbes({
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
      maxPayloadLength: largestMessageBytes(limits.client),
    }),
    close,
    closeAll: () => engine.close(),
  };
}
