import type { Client } from "../limits/address.ts";
import { createCounts } from "../limits/counts.ts";
import { firstToGo } from "../limits/share.ts";
import type { Admitted } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import type { Who } from "../observe/connection-events.ts";
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
  /** Its CONNECT came, and was refused. As when it is live, any other CONNECT ends it. */
  | { readonly name: "refused" }
  | { readonly name: "live"; readonly connection: Connection }
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
  readonly client: Client;
  readonly opened_ms: number;
  /** For log lines; from its CONNECT on, that of its Socket.IO socket. */
  id: string;
  phase: Phase;
}

/** Who is on an engine connection, as far as that is known, for log lines. */
export function whoOn({ engine, client, id, phase }: Session): Who {
  return phase.name === "live" ? phase.connection : { engine, id, address: client.address };
}

/** Why the service is about to end an engine connection. */
export function endFor({ phase }: Session, why: string): void {
  if (phase.name === "live") phase.connection.ending ??= why;
}

export type SessionSettings = Pick<
  Settings,
  | "max_connections"
  | "max_connections_per_address"
  | "max_polling"
  | "max_polling_per_address"
  | "max_unauthenticated"
  | "max_unauthenticated_per_address"
>;

export type TransportName = "polling" | "websocket";

export interface Sessions {
  /** Throws `overloaded` or `rate_limited`: nobody else can be taken by this transport, or not from this address, for now. */
  requireRoom(address: string | undefined, transport: TransportName): void;
  /** Ends by itself when the engine connection closes. */
  open(engine: EngineSocket, client: Client): Session;
  get(engine: object): Session | undefined;
  /** The one that a transport carries; undefined: none, as long as it only probes. */
  on(transport: object): Session | undefined;
  /** Ends a half of those that have not authenticated, or more if so many are needed, for a limit that is none of theirs; tells how many. */
  endHalf(limit: string, needed: number): number;
  /** Its CONNECT was good. */
  authenticated(session: Session): void;
  readonly size: number;
  readonly unauthenticated: number;
}

/** The engine connections, those included that have not sent their CONNECT yet: whose limits are for strangers. */
export function createSessions(
  settings: SessionSettings,
  events: Pick<Events["requests"], "limited" | "crowdedOut" | "neverConnected">,
): Sessions {
  const sessions = new Map<object, Session>();
  const byTransport = new WeakMap<object, Session>();
  /** In the order of their handshakes. */
  const strangers = new Set<Session>();
  const strangersOf = new Map<string, Set<Session>>();
  const perAddress = createCounts();
  const pollingPerAddress = createCounts();
  /** Those that poll and have authenticated: strangers have a total of their own, and must not use up this one. */
  const polling = new Set<Session>();

  function requireRoom(address: string | undefined, transport: TransportName): void {
    const polls = transport === "polling";
    if (address !== undefined) {
      if (perAddress.of(address) >= settings.max_connections_per_address)
        throw limited("max_connections_per_address", "rate_limited", "are open from this address");
      if (polls && pollingPerAddress.of(address) >= settings.max_polling_per_address)
        throw limited("max_polling_per_address", "rate_limited", "from this address poll");
    }
    if (sessions.size >= settings.max_connections) throw limited("max_connections", "overloaded", "are open");
    if (polls && polling.size >= settings.max_polling) throw limited("max_polling", "overloaded", "poll");
  }

  function limited(limit: keyof SessionSettings, code: "overloaded" | "rate_limited", what: string): Problem {
    events.limited(limit);
    return new Problem(code, { detail: `As many connections ${what} as the service takes (${limit}).` });
  }

  function open(engine: EngineSocket, client: Client): Session {
    const opened_ms = performance.now();
    const session: Session = { engine, client, opened_ms, id: crypto.randomUUID(), phase: { name: "open" } };
    const address = client.key;
    sessions.set(engine, session);
    byTransport.set(engine.transport, session);
    strangers.add(session);
    if (address !== undefined) {
      perAddress.add(address);
      const own = strangersOf.get(address);
      if (own === undefined) strangersOf.set(address, new Set([session]));
      else own.add(session);
    }
    if (engine.transport.name === "polling") countPolling(session);
    engine.on("close", (reason) => {
      sessions.delete(engine);
      if (strangers.has(session) && session.phase.name === "open")
        events.neverConnected(whoOn(session), reason, opened_ms);
      forgetStranger(session);
      if (address !== undefined) perAddress.remove(address);
    });
    makeRoom(address);
    return session;
  }

  /** From its handshake on, until it upgrades or ends. */
  function countPolling(session: Session): void {
    const { engine } = session;
    const address = session.client.key;
    if (address !== undefined) pollingPerAddress.add(address);
    let polls = true;
    const end = (): void => {
      if (polls && address !== undefined) pollingPerAddress.remove(address);
      polls = false;
      polling.delete(session);
    };
    engine.on("upgrade", () => {
      byTransport.set(engine.transport, session);
      end();
    });
    engine.on("close", end);
  }

  /**
   * Not the newest is refused: a flood that has filled all places would keep everybody out, or everybody behind its address.
   * A good client authenticates soon, long before its turn comes to make way.
   */
  function makeRoom(address: string | undefined): void {
    const own = strangersOf.get(address ?? "");
    if (own !== undefined && own.size > settings.max_unauthenticated_per_address)
      endOldest(own, "max_unauthenticated_per_address");
    if (strangers.size > settings.max_unauthenticated) endOldest(strangers, "max_unauthenticated");
  }

  function endOldest([oldest]: ReadonlySet<Session>, limit: keyof SessionSettings): void {
    if (oldest !== undefined) endStranger(oldest, limit);
  }

  function endHalf(limit: string, needed: number): number {
    const chosen = firstToGo([...strangers], ({ client }) => client.key ?? "", needed);
    for (const session of chosen) endStranger(session, limit);
    return chosen.length;
  }

  function endStranger(session: Session, limit: string): void {
    events.crowdedOut(limit, whoOn(session));
    forgetStranger(session);
    cut(session.engine);
  }

  function forgetStranger(session: Session): void {
    strangers.delete(session);
    const address = session.client.key ?? "";
    const own = strangersOf.get(address);
    own?.delete(session);
    if (own?.size === 0) strangersOf.delete(address);
  }

  function authenticated(session: Session): void {
    forgetStranger(session);
    if (session.engine.transport.name === "polling") polling.add(session);
  }

  return {
    requireRoom,
    open,
    get: (engine) => sessions.get(engine),
    on: (transport) => byTransport.get(transport),
    endHalf,
    authenticated,
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

/** The token is not needed any more: it would stay in memory, some KiB, as long as the connection does. */
export function forgetHandshake({ socket }: Connection): void {
  Object.assign(socket, { handshake: undefined });
}

/**
 * Lets go of the request that opened an engine connection. Its headers, which may have `max_header_bytes`, would stay in memory as
 * long as the connection does, twice: the engine keeps a copy for Socket.IO, and all of the request for the listener by which it
 * forgets the connection, so that one with less in its scope takes its place. To be called before anybody else listens.
 */
export function forgetRequest(engine: EngineSocket, forget: () => void): void {
  Object.assign(engine, { request: undefined });
  engine.off("close");
  engine.on("close", forget);
}
