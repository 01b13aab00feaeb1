import type { Admitted } from "../model/grant.ts";
import type { Connection, EngineSocket } from "./connection.ts";
import type { Resumption } from "./recovery.ts";

/** An engine connection, from its handshake on. */
export interface Session {
  readonly engine: EngineSocket;
  /** Set by the first CONNECT: there is one in the life of an engine connection. */
  claimed: boolean;
  admitted: Admitted | null;
  resumption: Resumption | null;
  leftBehind: Connection | undefined;
}

export function createSession(engine: EngineSocket): Session {
  return { engine, claimed: false, admitted: null, resumption: null, leftBehind: undefined };
}

/** Headers, query and token are not needed any more: they would stay in memory, some KiB, as long as the connection does. */
export function forgetHandshake({ socket, engine }: Connection, session: Session): void {
  Object.assign(socket, { handshake: undefined });
  Object.assign(engine, { request: undefined });
  Object.assign(session, { admitted: null, resumption: null, leftBehind: undefined });
}
