import type { Channel } from "../model/names.ts";
import { closings, type ClosingCode } from "../model/refusal.ts";
import type { Events } from "../observe/events.ts";
import type { BunWebSocket, Connection } from "./connection.ts";
import { createRegistry, type Registry } from "./registry.ts";

/** Who is in: connections that get what is for them, by which transport, and how one is ended. */
export interface Members {
  join(connection: Connection): void;
  /** A notification is about to be written to everyone on a channel, where they are not touched one by one. */
  publishing(channel: Channel): void;
  /** Harmless for a connection that has left. */
  leave(connection: Connection): void;
  /** It gets nothing any more, and stays open until it is closed. False: it has left already. */
  suspend(connection: Connection): boolean;
  /** Moves a polling connection to its websocket, in the same step in which the engine does. */
  upgrade(connection: Connection, ws: BunWebSocket): void;
  /** Tells the client why, and ends the connection so that it comes back, or stays away, as the code says. */
  close(connection: Connection, code: ClosingCode): void;
  withPid(pid: string): Connection | undefined;
  /** Those that are suspended, which the registry does not know. */
  readonly suspended: Pick<Registry<Connection>, "has" | "ofUser" | "ofSession" | "all">;
  /** Every connection that is to be closed before the service ends. */
  all(): Generator<Connection>;
  /** Of `all`. */
  readonly size: number;
  /** The connections on a channel that have no websocket yet. */
  pollingOn(channel: Channel): ReadonlySet<Connection>;
  readonly polling: number;
}

const nobody: ReadonlySet<never> = new Set<never>();

export function createMembers(registry: Registry<Connection>, events: Pick<Events["connections"], "closing">): Members {
  const byPid = new Map<string, Connection>();
  const polling = new Map<Channel, Set<Connection>>();
  const suspended = createRegistry<Connection>();
  /** Notifications to everyone, of channels that somebody is on. */
  const published = new Map<Channel, number>();
  let pollingCount = 0;

  function join(connection: Connection): void {
    registry.add(connection);
    byPid.set(connection.pid, connection);
    connection.publishedBefore = published.get(connection.channel) ?? 0;
    if (connection.ws === null) startPolling(connection);
    else connection.ws.subscribe(topicOf(connection.channel));
  }

  function leave(connection: Connection): void {
    if (registry.has(connection)) countPublished(connection);
    registry.remove(connection);
    suspended.remove(connection);
    if (byPid.get(connection.pid) === connection) byPid.delete(connection.pid);
    stopPolling(connection);
    connection.ws?.unsubscribe(topicOf(connection.channel));
  }

  function countPublished(connection: Connection): void {
    const { channel } = connection;
    connection.delivered += (published.get(channel) ?? 0) - connection.publishedBefore;
    if (registry.onChannel(channel).size === 1) published.delete(channel);
  }

  function publishing(channel: Channel): void {
    if (registry.onChannel(channel).size > 0) published.set(channel, (published.get(channel) ?? 0) + 1);
  }

  function suspend(connection: Connection): boolean {
    if (!registry.has(connection)) return false;
    leave(connection);
    suspended.add(connection);
    return true;
  }

  function* all(): Generator<Connection> {
    yield* registry.all();
    yield* suspended.all();
  }

  function upgrade(connection: Connection, ws: BunWebSocket): void {
    connection.ws = ws;
    // What still waits for a poll is flushed by the engine right after this, before any later publish.
    if (stopPolling(connection)) ws.subscribe(topicOf(connection.channel));
  }

  function startPolling(connection: Connection): void {
    const set = polling.get(connection.channel);
    if (set === undefined) polling.set(connection.channel, new Set([connection]));
    else set.add(connection);
    pollingCount++;
  }

  function stopPolling(connection: Connection): boolean {
    const set = polling.get(connection.channel);
    if (set?.delete(connection) !== true) return false;
    if (set.size === 0) polling.delete(connection.channel);
    pollingCount--;
    return true;
  }

  function close(connection: Connection, code: ClosingCode): void {
    const { reconnect } = closings[code];
    connection.ending ??= code;
    events.closing(connection, code);
    connection.socket.emit("closing", { code, reconnect });
    // Not left to the events of the close: a polling client may take its time to fetch what is still buffered.
    leave(connection);
    if (reconnect) connection.engine.close();
    else connection.socket.disconnect(true);
  }

  return {
    join,
    publishing,
    leave,
    suspend,
    suspended,
    all,
    upgrade,
    close,
    withPid: (pid) => byPid.get(pid),
    pollingOn: (channel) => polling.get(channel) ?? nobody,
    get size() {
      return registry.size + suspended.size;
    },
    get polling() {
      return pollingCount;
    },
  };
}

/** The native topic to which the websockets of a channel are subscribed. */
export function topicOf(channel: Channel): string {
  return `channel/${channel}`;
}
