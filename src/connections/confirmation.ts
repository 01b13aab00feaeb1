import type { Held } from "../journal/held.ts";
import type { Window } from "../journal/window.ts";
import type { Connection } from "./connection.ts";
import type { Registry } from "./registry.ts";

/**
 * Tells when a client has what was written to it: it answered a heartbeat that was sent after. Frames keep their order on a
 * connection, so nothing is asked of the page, and nothing is sent for it. A client that has left its namespace answers
 * heartbeats as well, but gets nothing any more: only the registry knows.
 */
export interface Confirmation {
  /** Watches a connection to which something was written that is held, until nothing is left to confirm. */
  watch(connection: Connection): void;
}

export function createConfirmation({
  window,
  held,
  registry,
}: {
  window: Pick<Window, "last">;
  held: Held;
  registry: Pick<Registry<Connection>, "has">;
}): Confirmation {
  const watched = new WeakSet<Connection>();

  function watch(connection: Connection): void {
    if (watched.has(connection)) return;
    watched.add(connection);
    const { user, channel, engine } = connection;
    let writtenTo: number | undefined;
    const onPacket = ({ type }: { type: string }): void => {
      // An entry is written to the members that it is for in the step in which it becomes the newest.
      if (type === "ping") writtenTo = window.last;
    };
    const onPong = (): void => {
      // Still a member, it was one at each write before.
      if (registry.has(connection)) {
        if (writtenTo === undefined) return;
        held.confirm(user, channel, writtenTo);
        if (held.waiting(user, channel).length > 0) return;
      }
      engine.off("packetCreate", onPacket);
      engine.off("heartbeat", onPong);
      watched.delete(connection);
    };
    engine.on("packetCreate", onPacket);
    engine.on("heartbeat", onPong);
  }

  return { watch };
}
