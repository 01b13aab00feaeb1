import type { Connection } from "./connection.ts";

/**
 * Tells when a client has what was written to it: it answered a heartbeat that was sent after. Frames keep their order on a
 * connection, so nothing is asked of the page, and nothing is sent for it.
 */
export function createConfirmation(needs: {
  /** The sequence of the newest entry, which is written to whom it is for in the step in which it becomes the newest. */
  head: () => number;
  confirm: (connection: Connection, upTo: number) => void;
  /** Whether there is anything left to confirm for the connection. */
  isWaiting: (connection: Connection) => boolean;
}): { watch: (connection: Connection) => void } {
  const watched = new WeakSet<Connection>();

  /** Watches a connection to which something was written that has to be confirmed, until nothing is left. */
  function watch(connection: Connection): void {
    if (watched.has(connection)) return;
    watched.add(connection);
    let writtenTo: number | undefined;
    const onPacket = ({ type }: { type: string }): void => {
      if (type === "ping") writtenTo = needs.head();
    };
    const onPong = (): void => {
      if (writtenTo === undefined) return;
      needs.confirm(connection, writtenTo);
      if (needs.isWaiting(connection)) return;
      connection.engine.off("packetCreate", onPacket);
      connection.engine.off("heartbeat", onPong);
      watched.delete(connection);
    };
    connection.engine.on("packetCreate", onPacket);
    connection.engine.on("heartbeat", onPong);
  }

  return { watch };
}
