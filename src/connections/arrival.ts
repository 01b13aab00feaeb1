import type { Socket } from "socket.io";
import type { Access } from "../authorize/access.ts";
import type { Admission } from "../authorize/admission.ts";
import type { Held } from "../journal/held.ts";
import type { Gate } from "../limits/gate.ts";
import type { Admitted } from "../model/grant.ts";
import { refusals } from "../model/refusal.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { Backlog } from "./backlog.ts";
import type { Connection } from "./connection.ts";
import type { Expiry } from "./expiry.ts";
import type { Fanout } from "./fanout.ts";
import type { Members } from "./members.ts";
import { openingOf } from "./opening.ts";
import { pidOf, type Recovery } from "./recovery.ts";
import type { Registry } from "./registry.ts";
import { endLater, forgetHandshake, endFor, whoOn, type Session, type Sessions } from "./sessions.ts";
import type { WebSockets } from "./websockets.ts";

export type ArrivalSettings = Pick<Settings, "connect_timeout_ms" | "max_connections_per_user">;

export interface ArrivalNeeds {
  readonly admission: Admission;
  readonly access: Pick<Access, "endingOf">;
  readonly recovery: Recovery;
  readonly held: Pick<Held, "waiting" | "confirm">;
  readonly registry: Registry<Connection>;
  readonly members: Members;
  readonly backlog: Pick<Backlog, "follow" | "isFull">;
  readonly fanout: Fanout;
  readonly sessions: Sessions;
  readonly gate: Pick<Gate, "failed">;
  readonly expiry: Pick<Expiry, "arm">;
  readonly events: Events["connections"];
}

/**
 * A client that is refused for now waits for so long before it comes back: its own delays do not grow, because its handshake
 * was good.
 */
const postponement_ms = 5000;

/** The way of a CONNECT, in the order in which Socket.IO takes it. */
export interface Arrival {
  /** Socket.IO's middleware: refuses for good, or lets pass. */
  authorize(socket: Socket, next: (error?: Error) => void): void;
  /** Decides where the client continues, just before its CONNECT is written with the `pid` that tells it. */
  place(socket: Socket): void;
  /** Follows the CONNECT in the same step: replay, then live. */
  connect(socket: Socket): void;
}

export function createArrival(settings: ArrivalSettings, webSockets: WebSockets, needs: ArrivalNeeds): Arrival {
  const { access, held, registry, members, backlog, fanout, sessions, expiry, events } = needs;
  const { connect_timeout_ms, max_connections_per_user } = settings;

  function authorize(socket: Socket, next: (error?: Error) => void): void {
    const session = sessions.get(socket.conn);
    if (session?.phase.name !== "open") {
      if (session !== undefined) endFor(session, "second CONNECT");
      socket.conn.close();
      // Called even so: Socket.IO forgets a socket only after its last middleware has answered.
      return next(new Error("one CONNECT per connection"));
    }
    session.id = socket.id;
    const { auth } = socket.handshake;
    const admitted = judge(auth);
    if (typeof admitted === "object" && !backlog.isFull) {
      session.phase = { name: "admitted", admitted };
      return next();
    }
    session.phase = { name: "refused" };
    const { keycloakID: user, channel, token } = needs.admission.named(auth);
    const newcomer = { ...whoOn(session), user, channel };
    // What it missed would come on top of what cannot be dropped.
    if (typeof admitted === "object") {
      events.crowded(newcomer);
      return postpone(session, next);
    }
    if (admitted === "in_doubt") {
      events.postponed(newcomer);
      return postpone(session, next);
    }
    if (admitted === "forged") needs.gate.failed(session.client);
    const code = admitted === "forged" ? "token_invalid" : admitted;
    events.refused(code, newcomer, token);
    // Socket.IO's own timeout waits until the refusal was fetched.
    endLater(session.engine, connect_timeout_ms);
    next(Object.assign(new Error(refusals[code]), { data: { code } }));
  }

  /** Refuses for now: the engine ends without an answer to the CONNECT, after which a stock client comes back by itself. */
  function postpone({ engine }: Session, next: (error: Error) => void): void {
    engine.on("close", () => next(new Error("postponed")));
    endLater(engine, Math.min(connect_timeout_ms, postponement_ms));
  }

  function judge(auth: unknown): ReturnType<Admission["admit"]> {
    const admitted = needs.admission.admit(auth);
    if (typeof admitted === "string") return admitted;
    const others = registry.ofUser(admitted.user).length - (leftBehind(auth, admitted) === undefined ? 0 : 1);
    return others >= max_connections_per_user ? "too_many_connections" : admitted;
  }

  /**
   * The connection that a client which is back was cut off from, although we have not noticed: it makes way for the new one.
   * What it still gets, nobody reads; and if it counted, a user at their limit could never come back.
   */
  function leftBehind(auth: unknown, { user, channel }: Admitted): Connection | undefined {
    const old = members.withPid(pidOf(auth));
    return old?.user === user && old.channel === channel ? old : undefined;
  }

  function place(socket: Socket): void {
    const session = sessions.get(socket.conn);
    if (session?.phase.name !== "admitted") return;
    const { admitted } = session.phase;
    const { auth } = socket.handshake;
    const resumption = needs.recovery(auth, admitted.user, admitted.channel);
    session.phase = { name: "placed", admitted, resumption, leftBehind: leftBehind(auth, admitted) };
    Object.assign(socket, { pid: resumption.pid });
  }

  function connect(socket: Socket): void {
    const session = sessions.get(socket.conn);
    if (session?.phase.name !== "placed") return void socket.disconnect(true);
    const { admitted, resumption, leftBehind: old } = session.phase;
    const { engine } = session;
    const connection: Connection = {
      ...admitted,
      id: socket.id,
      address: session.client.address,
      connected_ms: performance.now(),
      pid: resumption.pid,
      socket,
      engine,
      ws: webSockets.take(engine),
      backlog_bytes: 0,
      delivered: 0,
      publishedBefore: 0,
      ending: undefined,
    };
    session.phase = { name: "live", connection };
    forgetHandshake(connection);
    if (old !== undefined) {
      old.ending ??= "replaced";
      members.leave(old);
      old.engine.close();
    }
    // A revocation may have come between the check and this step; it did not find the connection in the registry.
    const ending = access.endingOf(connection);
    if (ending !== undefined) return members.close(connection, ending);
    sessions.authenticated(session);
    backlog.follow(connection);
    fanout.admit(connection, openingOf(connection, resumption, held));
    engine.on("upgrade", () => {
      const upgraded = webSockets.take(engine);
      if (upgraded === null) return;
      members.upgrade(connection, upgraded);
      backlog.follow(connection);
    });
    let disarm = (): void => {};
    socket.on("disconnect", (reason) => {
      disarm();
      members.leave(connection);
      events.disconnected(connection, reason);
      // A client that left the namespace but keeps its engine open has nothing to wait for: no second CONNECT is taken.
      // (One whose engine has ended, the common case, must not stay in memory for a timer.)
      endLater(engine, connect_timeout_ms);
    });
    events.connected(connection, { cause: resumption.cause, missed: resumption.missed.length });
    disarm = expiry.arm(connection);
  }

  return { authorize, place, connect };
}
