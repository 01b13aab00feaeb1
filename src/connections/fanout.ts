import type { Cursor } from "../model/cursor.ts";
import type { NotificationEntry, Outcome, Target } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { BunWebSocket, Connection } from "./connection.ts";
import type { Registry } from "./registry.ts";

export interface Fanout {
  join(connection: Connection): void;
  /** Harmless for a connection that has left. */
  leave(connection: Connection): void;
  /** Moves a polling connection to its websocket, in the same step in which the engine does. */
  upgrade(connection: Connection, ws: BunWebSocket): void;
  /** Hands a notification to every connection that it is for, and counts them, in one step. */
  deliver(entry: NotificationEntry): Outcome;
  /** Whom a notification would reach. */
  count(target: Target): Outcome;
  /** Writes older notifications to a connection that has not joined yet. */
  replay(connection: Connection, entries: readonly NotificationEntry[]): void;
  /** Tells every connection the head of the journal, so that one that gets nothing else can be recovered too. */
  announce(head: Cursor): void;
  readonly polling: number;
}

export interface FanoutNeeds {
  readonly registry: Registry<Connection>;
  /**
   * One encoding, one call: Bun writes the frame to every websocket that is subscribed to the topic. Not positive if one of
   * them lags, or if there is none.
   */
  readonly publish: (topic: string, frame: string) => number;
  readonly backlogBytes: number;
  /** It lags too far, and has left. Called after the step in which it was found. */
  readonly onOverflow: (connection: Connection) => void;
  /** Something that is held was written to a connection. */
  readonly onHeldWritten: (connection: Connection) => void;
}

export function createFanout(needs: FanoutNeeds): Fanout {
  const { registry, publish } = needs;
  const polling = new Map<Channel, Set<Connection>>();
  let pollingCount = 0;

  function join(connection: Connection): void {
    registry.add(connection);
    if (connection.ws === null) startPolling(connection);
    else connection.ws.subscribe(topicOf(connection.channel));
    checkBacklog(connection);
  }

  function leave(connection: Connection): void {
    registry.remove(connection);
    stopPolling(connection);
    connection.ws?.unsubscribe(topicOf(connection.channel));
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
    connection.engine.on("drain", () => (connection.backlogBytes = 0));
  }

  function stopPolling(connection: Connection): boolean {
    const set = polling.get(connection.channel);
    if (set?.delete(connection) !== true) return false;
    if (set.size === 0) polling.delete(connection.channel);
    pollingCount--;
    return true;
  }

  function deliver(entry: NotificationEntry): Outcome {
    const { target } = entry;
    const frame = frameOf(entry);
    if (target.users === undefined) {
      const outcome = count(target);
      for (const channel of target.channels) toChannel(channel, frame);
      return outcome;
    }
    const [matched, outcome] = match(target.users, target.channels);
    for (const connection of matched) {
      write(connection, frame);
      checkBacklog(connection);
      if (entry.ttl_seconds > 0) needs.onHeldWritten(connection);
    }
    return outcome;
  }

  function count(target: Target): Outcome {
    if (target.users !== undefined) return match(target.users, target.channels)[1];
    return { connections: target.channels.reduce((sum, name) => sum + registry.onChannel(name).size, 0), offline: [] };
  }

  function toChannel(channel: Channel, frame: string): void {
    const members = registry.onChannel(channel);
    if (members.size === 0) return;
    const status = publish(topicOf(channel), frame);
    for (const connection of polling.get(channel) ?? []) write(connection, frame);
    // All are looked at only while one of them lags. A copy: whoever lags too far leaves.
    for (const connection of Array.from(status > 0 ? (polling.get(channel) ?? []) : members)) checkBacklog(connection);
  }

  /** A copy: a write can close a connection, which changes the registry. */
  function match(users: readonly KeycloakId[], channels: readonly Channel[] | undefined): [Connection[], Outcome] {
    const within = channels === undefined ? undefined : new Set(channels);
    const matched: Connection[] = [];
    const offline: KeycloakId[] = [];
    for (const user of users) {
      const before = matched.length;
      for (const connection of registry.ofUser(user)) {
        if (within?.has(connection.channel) ?? true) matched.push(connection);
      }
      if (matched.length === before) offline.push(user);
    }
    return [matched, { connections: matched.length, offline }];
  }

  function replay(connection: Connection, entries: readonly NotificationEntry[]): void {
    for (const entry of entries) {
      write(connection, frameOf(entry));
      if (entry.ttl_seconds > 0 && entry.target.users !== undefined) needs.onHeldWritten(connection);
    }
  }

  function announce(head: Cursor): void {
    const frame = `42["cursor","${head}"]`;
    for (const [channel] of registry.channels()) toChannel(channel, frame);
  }

  function write(connection: Connection, frame: string): void {
    if (connection.ws !== null) {
      connection.ws.send(frame);
      return;
    }
    connection.backlogBytes += frame.length;
    // The engine adds the 4 of its own packet type; with a poll waiting it answers at once, and "drain" resets the count.
    connection.engine.write(frame.slice(1));
  }

  /**
   * Whoever lags too far leaves before anything is lost on the way to him, so that nothing newer follows a gap. What waits
   * is still his, if he reads on soon.
   */
  function checkBacklog(connection: Connection): void {
    const { ws, backlogBytes } = connection;
    if ((ws === null ? backlogBytes : ws.getBufferedAmount()) <= needs.backlogBytes) return;
    leave(connection);
    queueMicrotask(() => needs.onOverflow(connection));
  }

  return {
    join,
    leave,
    upgrade,
    deliver,
    count,
    replay,
    announce,
    get polling() {
      return pollingCount;
    },
  };
}

function topicOf(channel: Channel): string {
  return `channel/${channel}`;
}

/** A Socket.IO EVENT in an Engine.IO message. The cursor is its last argument: what a stock client sends back as its offset. */
function frameOf({ json, cursor }: NotificationEntry): string {
  return `42["notification",${json},"${cursor}"]`;
}
