import type { Events } from "../observe/events.ts";
import { whoOn, type Session } from "./sessions.ts";

/** A Socket.IO CONNECT to another namespace than the main one, as far as it is a path: what follows, behind a `?` for example, may be a secret. */
const foreign = /^0(\/[\w.%~/-]{1,63})[^,]*(?:,|$)/;

/**
 * Tells of a client that asks for another namespace first. Socket.IO refuses it by itself, with `Invalid namespace` and no more:
 * mostly, the path at which a proxy shows the service was written into the address that the client takes for a namespace.
 */
export function tellForeignNamespace(session: Session, events: Pick<Events["connections"], "foreignNamespace">): void {
  const { engine } = session;
  function look({ type, data }: { type: string; data?: unknown }): void {
    if (type !== "message") return;
    engine.off("packet", look);
    const namespace = typeof data === "string" ? foreign.exec(data)?.[1] : undefined;
    if (namespace !== undefined) events.foreignNamespace(namespace, whoOn(session));
  }
  engine.on("packet", look);
}
