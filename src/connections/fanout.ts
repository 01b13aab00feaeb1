import type { Cursor } from "../model/cursor.ts";
import type { Outcome, Target } from "../model/entry.ts";
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
  deliver(target: Target, json: string, cursor: Cursor): Outcome;
  readonly polling: number;
}

export interface FanoutNeeds {
  readonly registry: Registry<Connection>;
  /** One encoding, one call: Bun writes the frame to every websocket that is subscribed to the topic. */
  readonly publish: (topic: string, frame: string) => void;
  readonly backlogBytes: number;
  readonly onOverflow: (connection: Connection) => void;
}

export function createFanout(needs: FanoutNeeds): Fanout {
  const { registry, publish } = needs;
  const polling = new Map<Channel, Set<Connection>>();
  let pollingCount = 0;

  function join(connection: Connection): void {
    registry.add(connection);
    if (connection.ws === null) startPolling(connection);
    else connection.ws.subscribe(topicOf(connection.channel));
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

  function deliver(target: Target, json: string, cursor: Cursor): Outcome {
    const frame = `42["notification",${json},"${cursor}"]`;
    return target.users === undefined
      ? { connections: toChannels(target.channels, frame), offline: [] }
      : toUsers(target.users, target.channels, frame);
  }

  function toChannels(channels: readonly Channel[], frame: string): number {
    let count = 0;
    for (const channel of channels) {
      const { size } = registry.onChannel(channel);
      if (size === 0) continue;
      count += size;
      publish(topicOf(channel), frame);
      for (const connection of Array.from(polling.get(channel) ?? [])) write(connection, frame);
    }
    return count;
  }

  function toUsers(users: readonly KeycloakId[], channels: readonly Channel[] | undefined, frame: string): Outcome {
    const within = channels === undefined ? undefined : new Set(channels);
    const offline: KeycloakId[] = [];
    let count = 0;
    for (const user of users) {
      const matched = registry.ofUser(user).filter(({ channel }) => within?.has(channel) ?? true);
      if (matched.length === 0) offline.push(user);
      count += matched.length;
      for (const connection of matched) write(connection, frame);
    }
    return { connections: count, offline };
  }

  function write(connection: Connection, frame: string): void {
    if (connection.ws !== null) {
      // Over `backlog_bytes` Bun closes the websocket by itself (closeOnBackpressureLimit).
      connection.ws.send(frame);
      return;
    }
    connection.backlogBytes += frame.length;
    // The engine adds the 4 of its own packet type; with a poll waiting it answers at once, and "drain" resets the count.
    connection.engine.write(frame.slice(1));
    if (connection.backlogBytes > needs.backlogBytes) needs.onOverflow(connection);
  }

  return {
    join,
    leave,
    upgrade,
    deliver,
    get polling() {
      return pollingCount;
    },
  };
}

function topicOf(channel: Channel): string {
  return `channel/${channel}`;
}
