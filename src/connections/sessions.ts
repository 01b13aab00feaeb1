import { createCounts } from "../limits/counts.ts";
import type { Admitted } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { Connection, EngineSocket } from "./connection.ts";
import type { Resumption } from "./recovery.ts";

/**
 * How far an engine connection has come. There is one CONNECT in its life, so no phase comes twice. What a phase needs is
 * there as long as the phase lasts, and let go with it.
 */
export type Phase =
  | { readonly name: "open" }
  /** Its CONNECT came, and was refused, or is live by now: any other CONNECT ends it. */
  | { readonly name: "settled" }
  /** Its token is valid. Socket.IO is about to write its CONNECT. */
  | { readonly name: "admitted"; readonly admitted: Admitted }
  /** Its place is known, and written into the CONNECT. `leftBehind`: the connection that its client was cut off from. */
  | {
      readonly name: "placed";
      readonly admitted: Admitted;
      readonly resumption: Resumption;
      readonly leftBehind: Connection | undefined;
    };

/** An engine connection, from its handshake on. */
export interface Session {
  readonly engine: EngineSocket;
  /** What limits per address count by. Undefined: they are off for it. */
  readonly address: string | undefined;
  phase: Phase;
}

export type SessionSettings = Pick<
  Settings,
  "max_connections" | "max_connections_per_address" | "max_unauthenticated" | "max_unauthenticated_per_address"
>;

export interface Sessions {
  /** Throws `overloaded` or `rate_limited`: nobody else can be taken, or not from this address, for now. */
  requireRoom(address: string | undefined): void;
  /** Ends by itself when the engine connection closes. */
  open(engine: EngineSocket, address: string | undefined): Session;
  get(engine: object): Session | undefined;
  /** Its CONNECT was good. */
  authenticated(session: Session): void;
  readonly size: number;
  readonly unauthenticated: number;
}

/** The engine connections, those included that have not sent their CONNECT yet: whose limits are for strangers. */
export function createSessions(settings: SessionSettings, events: Pick<Events["requests"], "limited">): Sessions {
  const sessions = new Map<object, Session>();
  /** In the order of their handshakes. */
  const strangers = new Set<Session>();
  const perAddress = createCounts();
  const strangersPerAddress = createCounts();

  function requireRoom(address: string | undefined): void {
    if (sessions.size >= settings.max_connections) throw limited("max_connections", "overloaded");
    if (address === undefined) return;
    if (perAddress.of(address) >= settings.max_connections_per_address)
      throw limited("max_connections_per_address", "rate_limited");
    if (strangersPerAddress.of(address) >= settings.max_unauthenticated_per_address) {
      throw limited("max_unauthenticated_per_address", "rate_limited");
    }
  }

  function limited(limit: string, code: "overloaded" | "rate_limited"): Problem {
    events.limited(limit);
    return new Problem(code, { detail: `As many connections are open as the service takes (${limit}).` });
  }

  function open(engine: EngineSocket, address: string | undefined): Session {
    const session: Session = { engine, address, phase: { name: "open" } };
    sessions.set(engine, session);
    strangers.add(session);
    if (address !== undefined) {
      perAddress.add(address);
      strangersPerAddress.add(address);
    }
    engine.on("close", () => {
      sessions.delete(engine);
      forgetStranger(session);
      if (address !== undefined) perAddress.remove(address);
    });
    makeRoom();
    return session;
  }

  /**
   * Not the newest is refused: a flood that has filled all places would keep everybody out. A good client authenticates
   * soon, long before its turn comes to make way.
   */
  function makeRoom(): void {
    if (strangers.size <= settings.max_unauthenticated) return;
    const [oldest] = strangers;
    if (oldest === undefined) return;
    events.limited("max_unauthenticated");
    forgetStranger(oldest);
    cut(oldest.engine);
  }

  function forgetStranger(session: Session): void {
    if (strangers.delete(session) && session.address !== undefined) strangersPerAddress.remove(session.address);
  }

  return {
    requireRoom,
    open,
    get: (engine) => sessions.get(engine),
    authenticated: forgetStranger,
    get size() {
      return sessions.size;
    },
    get unauthenticated() {
      return strangers.size;
    },
  };
}

/**
 * Ends an engine connection now. Its own `close` waits until what is buffered was fetched: a client that never polls again
 * would keep its place until the heartbeat, a minute long, and count for nothing but `max_connections`.
 */
export function cut(engine: EngineSocket): void {
  engine.transport.close();
}

/** Ends an engine connection in a while, as Socket.IO does where no CONNECT comes. As long again later, what was not fetched is dropped. */
export function endLater(engine: EngineSocket, after_ms: number): void {
  if (engine.readyState === "closed") return;
  const end = () => {
    engine.close();
    if (engine.readyState !== "closed") setTimeout(() => cut(engine), after_ms).unref();
  };
  setTimeout(end, after_ms).unref();
}

/** Headers, query and token are not needed any more: they would stay in memory, some KiB, as long as the connection does. */
export function forgetHandshake({ socket, engine }: Connection): void {
  Object.assign(socket, { handshake: undefined });
  Object.assign(engine, { request: undefined });
}
