import type { Cursor } from "../model/cursor.ts";
import { channelsOf, type NotificationEntry, type Outcome, type Target } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { Backlog } from "./backlog.ts";
import type { Confirmation } from "./confirmation.ts";
import type { Connection } from "./connection.ts";
import { topicOf, type Members } from "./members.ts";
import type { Opening } from "./opening.ts";
import type { Registry } from "./registry.ts";

/** Writes notifications to connections. */
export interface Fanout {
  /** The server whose websockets are written to, or several as one. Before the first notification. */
  attach(server: Pick<Bun.Server<unknown>, "publish">): void;
  /**
   * Writes to a connection what precedes anything new, and lets it join: from here on it gets all that is for it. One step, so
   * that nothing is missed or repeated between the two.
   */
  admit(connection: Connection, opening: Opening): void;
  /** Hands a notification to every connection that it is for, and counts them, in one step. */
  deliver(entry: NotificationEntry): Outcome;
  /** Whom a notification would reach. */
  count(target: Target): Outcome;
  /** Tells every connection the head of the journal, so that one that gets nothing else can be recovered too. */
  announce(head: Cursor): void;
}

export function createFanout({
  registry,
  members,
  backlog,
  confirmation,
}: {
  readonly registry: Registry<Connection>;
  readonly members: Members;
  readonly backlog: Pick<Backlog, "look" | "settle">;
  readonly confirmation: Confirmation;
}): Fanout {
  let server: Parameters<Fanout["attach"]>[0] | undefined;

  function admit(connection: Connection, { recovered, older, head }: Opening): void {
    if (recovered !== undefined) write(connection, resumedFrameOf(recovered));
    connection.delivered += older.length;
    for (const entry of older) {
      write(connection, frameOf(entry));
      watchHeld(connection, entry);
    }
    if (head !== undefined) write(connection, headFrameOf(head));
    members.join(connection);
    backlog.look(connection);
    backlog.settle();
  }

  function deliver(entry: NotificationEntry): Outcome {
    const { target } = entry;
    const frame = frameOf(entry);
    if (target.users === undefined) {
      const outcome = count(target);
      for (const channel of target.channels) {
        members.publishing(channel);
        toChannel(channel, frame);
      }
      backlog.settle();
      return outcome;
    }
    const [matched, outcome] = match(target, target.users);
    for (const connection of matched) {
      connection.delivered++;
      write(connection, frame);
      backlog.look(connection);
      watchHeld(connection, entry);
    }
    backlog.settle();
    return outcome;
  }

  function watchHeld(connection: Connection, { ttl_seconds, target }: NotificationEntry): void {
    if (ttl_seconds > 0 && target.users !== undefined) confirmation.watch(connection);
  }

  function count(target: Target): Outcome {
    if (target.users !== undefined) return match(target, target.users)[1];
    return { connections: target.channels.reduce((sum, name) => sum + registry.onChannel(name).size, 0), offline: [] };
  }

  function toChannel(channel: Channel, frame: Frame): void {
    const all = registry.onChannel(channel);
    if (all.size === 0) return;
    // One encoding, one call: Bun writes the frame to every websocket that is subscribed. Not positive: one of them lags, or
    // there is none.
    const status = server?.publish(topicOf(channel), frame.text) ?? 0;
    const polling = members.pollingOn(channel);
    for (const connection of polling) write(connection, frame);
    // All are looked at only while one of them lags. A copy: a connection that lags too far leaves.
    for (const connection of Array.from(status > 0 ? polling : all)) backlog.look(connection);
  }

  /** A copy: a write can close a connection, which changes the registry. */
  function match(target: Target, users: readonly KeycloakId[]): [Connection[], Outcome] {
    const channels = channelsOf(target);
    const matched: Connection[] = [];
    const offline: KeycloakId[] = [];
    for (const user of users) {
      const before = matched.length;
      for (const connection of registry.ofUser(user)) {
        if (channels.has(connection.channel)) matched.push(connection);
      }
      if (matched.length === before) offline.push(user);
    }
    return [matched, { connections: matched.length, offline }];
  }

  function announce(head: Cursor): void {
    const frame = headFrameOf(head);
    for (const [channel] of registry.channels()) toChannel(channel, frame);
    backlog.settle();
  }

  function write(connection: Connection, { text, size_bytes }: Frame): void {
    if (connection.ws !== null) {
      connection.ws.send(text);
      return;
    }
    connection.backlog_bytes += size_bytes;
    // The engine adds the 4 of its own packet type; with a poll waiting it answers at once, and "drain" resets the count.
    connection.engine.write(text.slice(1));
  }

  return { attach: (given) => void (server = given), admit, deliver, count, announce };
}

/** A Socket.IO EVENT in an Engine.IO message, measured once for all that it is written to. */
interface Frame {
  readonly text: string;
  readonly size_bytes: number;
}

/** The cursor is the last argument: what a stock client sends back as its offset. */
function frameOf({ json, cursor }: NotificationEntry): Frame {
  return measured(`42["notification",${json},"${cursor}"]`);
}

/** Without a string at the end, which would be a stock client's offset. */
function resumedFrameOf(recovered: boolean): Frame {
  return measured(`42["resumed",{"recovered":${recovered}}]`);
}

function headFrameOf(head: Cursor): Frame {
  return measured(`42["cursor","${head}"]`);
}

function measured(text: string): Frame {
  return { text, size_bytes: Buffer.byteLength(text) };
}
