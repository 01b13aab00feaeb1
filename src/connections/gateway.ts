import { Server as Engine } from "@socket.io/bun-engine";
import { Adapter } from "socket.io-adapter";
import { Server } from "socket.io";
import type { Clock } from "../clock/clock.ts";
import type { Clients } from "../limits/address.ts";
import type { Settings } from "../settings/schema.ts";
import { createArrival, type ArrivalNeeds, type ArrivalSettings } from "./arrival.ts";
import type { Backlog } from "./backlog.ts";
import type { BunWebSocket } from "./connection.ts";
import { tellForeignNamespace } from "./namespaces.ts";
import { largestMessage_bytes, limitPackets, limitProbes, scheduleOnce, type ClientLimits } from "./packets.ts";
import { limitPollAnswers } from "./poll-answers.ts";
import { createPolls, type Polls } from "./polls.ts";
import { createSecondWebSockets } from "./second-websocket.ts";
import { endFor, forgetRequest, whoOn } from "./sessions.ts";
import { endUpgradeWithSession } from "./upgrade.ts";
import { createWebSockets } from "./websockets.ts";

export type SocketData = BunWebSocket["data"];

export interface Gateway extends Pick<Polls, "polled" | "posted"> {
  /** Takes every request that is Engine.IO's. */
  handle(req: Request, server: Bun.Server<SocketData>): Promise<Response>;
  readonly websocket: {
    open(ws: BunWebSocket): void;
    message(ws: BunWebSocket, message: string | Buffer): void;
    drain(ws: BunWebSocket): void;
    close(ws: BunWebSocket, code: number, reason: string): void;
    readonly maxPayloadLength: number;
  };
  /** The session of this id, as long as it polls. */
  polling: Polls["get"];
  /** A websocket's client sent more than it may, and is about to be closed. */
  exceeded(ws: BunWebSocket, limit: "max_client_messages" | "max_client_bytes"): void;
  /** Ends every engine connection, those without a Socket.IO connection too. */
  closeAll(): void;
}

export type GatewaySettings = ArrivalSettings & ClientLimits & Pick<Settings, "ping_interval_ms" | "ping_timeout_ms">;

/** How Bun says that it has closed a websocket for a message beyond `maxPayloadLength`. */
const tooBig = "Received too big message";

/** Socket.IO on the Bun engine: handshake → authorization → live. */
export function createGateway(
  settings: GatewaySettings,
  needs: ArrivalNeeds & {
    readonly backlog: Pick<Backlog, "drained" | "closed">;
    readonly clients: Clients;
    readonly clock: Pick<Clock, "now">;
  },
): Gateway {
  const { sessions, backlog, clients, events, clock } = needs;
  const { connect_timeout_ms, ping_interval_ms, ping_timeout_ms } = settings;
  const webSockets = createWebSockets();
  const polls = createPolls(events);
  const arrival = createArrival(settings, webSockets, needs);

  /**
   * Rooms are not used: fan-out has its own, native ones, and Socket.IO's would cost two sets and a map entry a connection.
   * Joining one's own room is the last thing that Socket.IO does before it writes the CONNECT, in the same step.
   */
  class BeforeConnect extends Adapter {
    override addAll(id: string): void {
      const socket = io.sockets.sockets.get(id);
      if (socket !== undefined) arrival.place(socket);
    }
    override del(): void {}
    override delAll(): void {}
  }

  const engine = new Engine({
    path: "/socket.io/",
    pingInterval: ping_interval_ms,
    pingTimeout: ping_timeout_ms,
    upgradeTimeout: connect_timeout_ms,
  });
  const secondWebSockets = createSecondWebSockets(engine);
  const io = new Server({ serveClient: false, connectTimeout: connect_timeout_ms, adapter: BeforeConnect });

  // Before Socket.IO's own listener, so that a CONNECT always finds its session.
  engine.on("connection", (conn, req, server) => {
    forgetRequest(conn, () => engine["clients"].delete(conn.id));
    scheduleOnce(conn);
    webSockets.endAtOnce(conn);
    const session = sessions.open(conn, clients.of(req, server));
    polls.open(session);
    limitPollAnswers(conn, req.headers.get("user-agent"));
    tellForeignNamespace(session, events);
    endUpgradeWithSession(conn, webSockets.cut);
    limitPackets(session, settings, { events, now: clock.now });
  });
  io.bind(engine);
  io.use(arrival.authorize);
  io.on("connection", arrival.connect);

  function exceeded(ws: BunWebSocket, limit: "max_client_messages" | "max_client_bytes"): void {
    const session = sessions.on(ws.data.transport);
    events.sentTooMuch(limit, session && whoOn(session), ws.remoteAddress);
    if (session !== undefined) endFor(session, limit);
  }

  return {
    exceeded,
    polled: polls.polled,
    polling: polls.get,
    posted: polls.posted,
    async handle(req, server) {
      const response = await engine.handleRequest(req, server);
      return secondWebSockets.taken(req, server) ? new Response(null) : response;
    },
    websocket: limitProbes({
      open(ws) {
        if (secondWebSockets.ended(ws)) return;
        webSockets.opened(ws);
        engine.onWebSocketOpen(ws);
      },
      message(ws, message) {
        engine.onWebSocketMessage(ws, message);
      },
      drain: backlog.drained,
      close(ws, code, reason) {
        if (reason === tooBig) exceeded(ws, "max_client_bytes");
        backlog.closed(ws, code);
        webSockets.closed(ws);
        engine.onWebSocketClose(ws, code, reason);
      },
      maxPayloadLength: largestMessage_bytes(settings),
    }),
    closeAll: () => engine.close(),
  };
}
