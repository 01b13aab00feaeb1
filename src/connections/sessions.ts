import type { Admitted } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import type { Connection, EngineSocket } from "./connection.ts";
import type { Resumption } from "./recovery.ts";

/** An engine connection, from its handshake on. */
export interface Session {
  readonly engine: EngineSocket;
  /** What limits per address count by. Undefined: they are off for it. */
  readonly address: string | undefined;
  /** Set by the first CONNECT: there is one in the life of an engine connection. */
  claimed: boolean;
  admitted: Admitted | null;
  resumption: Resumption | null;
  leftBehind: Connection | undefined;
}

/** Of something by address; one that has none is not in memory. */
interface Counts {
  add(key: string): void;
  remove(key: string): void;
  of(key: string): number;
}

export interface SessionsNeeds {
  readonly limits: {
    readonly total: number;
    readonly perAddress: number;
    readonly unauthenticated: number;
    readonly unauthenticatedPerAddress: number;
  };
  readonly createCounts: () => Counts;
  readonly onLimited: (limit: string) => void;
}

export interface Sessions {
  /** Throws `overloaded` or `rate_limited`: nobody else can be taken, or not from this address, for now. */
  requireRoom(address: string | undefined): void;
  /** Ends by itself when the engine connection closes. */
  open(engine: EngineSocket, address: string | undefined): void;
  get(engine: object): Session | undefined;
  /** Its CONNECT was good. */
  authenticated(session: Session): void;
  readonly size: number;
  readonly unauthenticated: number;
}

/** The engine connections, those included that have not sent their CONNECT yet: whose limits are for strangers. */
export function createSessions({ limits, createCounts, onLimited }: SessionsNeeds): Sessions {
  const sessions = new Map<object, Session>();
  /** In the order of their handshakes. */
  const strangers = new Set<Session>();
  const perAddress = createCounts();
  const strangersPerAddress = createCounts();

  function requireRoom(address: string | undefined): void {
    if (sessions.size >= limits.total) throw limited("max_connections", "overloaded");
    if (address === undefined) return;
    if (perAddress.of(address) >= limits.perAddress) throw limited("max_connections_per_address", "rate_limited");
    if (strangersPerAddress.of(address) >= limits.unauthenticatedPerAddress) {
      throw limited("max_unauthenticated_per_address", "rate_limited");
    }
  }

  function limited(limit: string, code: "overloaded" | "rate_limited"): Problem {
    onLimited(limit);
    return new Problem(code, { detail: `As many connections are open as the service takes (${limit}).` });
  }

  function open(engine: EngineSocket, address: string | undefined): void {
    const session: Session = {
      engine,
      address,
      claimed: false,
      admitted: null,
      resumption: null,
      leftBehind: undefined,
    };
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
  }

  /**
   * Not the newest is refused: a flood that has filled all places would keep everybody out. A good client authenticates
   * soon, long before its turn comes to make way.
   */
  function makeRoom(): void {
    if (strangers.size <= limits.unauthenticated) return;
    const [oldest] = strangers;
    if (oldest === undefined) return;
    onLimited("max_unauthenticated");
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
function cut(engine: EngineSocket): void {
  engine.transport.close();
}

/** As Socket.IO ends who sends no CONNECT. Who has not fetched what waits for him by as long again gets it no more. */
export function endLater(engine: EngineSocket, after_ms: number): void {
  if (engine.readyState === "closed") return;
  const end = () => {
    engine.close();
    if (engine.readyState !== "closed") setTimeout(() => cut(engine), after_ms).unref();
  };
  setTimeout(end, after_ms).unref();
}

/** Headers, query and token are not needed any more: they would stay in memory, some KiB, as long as the connection does. */
export function forgetHandshake({ socket, engine }: Connection, session: Session): void {
  Object.assign(socket, { handshake: undefined });
  Object.assign(engine, { request: undefined });
  Object.assign(session, { admitted: null, resumption: null, leftBehind: undefined });
}
