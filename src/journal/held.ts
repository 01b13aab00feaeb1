import { channelsOf, heldUntil_ms, type NotificationEntry } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { History, Journal } from "./journal.ts";

export interface Held {
  /**
   * Throws `held_full` if a notification of this size cannot be held for each of these users now, `too_large` if it never
   * can. Otherwise keeps the room for it, while the journal makes it durable, until the returned function is called.
   */
  reserve(users: readonly KeycloakId[], bytes: number): () => void;
  /** Holds a notification for those of its users who have not got it yet: all of them, unless it was held before a restart. */
  add(entry: NotificationEntry, users?: readonly KeycloakId[]): void;
  /** What waits for this user on this channel, in order. */
  waiting(user: KeycloakId, channel: Channel): readonly NotificationEntry[];
  /** A connection of the user on the channel has all that came up to this sequence. */
  confirm(user: KeycloakId, channel: Channel, upTo: number): void;
  /** Forgets what nobody fetched in time. */
  expire(): void;
  readonly count: number;
  readonly bytes: number;
}

export type HeldSettings = Pick<Settings, "max_held_per_user" | "max_held" | "max_held_bytes" | "backlog_bytes">;

interface Shelf {
  entries: NotificationEntry[];
  bytes: number;
}

/** Notifications with a `ttl`: kept for each user until they are known to have them (RFC 8030 section 5.2, for web pages). */
export function createHeld(
  settings: HeldSettings,
  {
    journal,
    events,
    now,
  }: {
    journal: Pick<Journal, "release" | "uptime_ms"> & { readonly history: Pick<History, "held"> };
    events: Pick<Events["journal"], "released">;
    now: () => number;
  },
): Held {
  const { max_held, max_held_bytes, max_held_per_user, backlog_bytes } = settings;
  // What is held, and what was missed, go out in one burst, and have to fit into the backlog together.
  const user_bytes = backlog_bytes / 4;
  const shelves = new Map<KeycloakId, Shelf>();
  const reserved = new Map<KeycloakId, { count: number; bytes: number }>();
  let count = 0;
  let bytes = 0;
  let reservedCount = 0;
  let reserved_bytes = 0;
  for (const { entry, users } of journal.history.held) add(entry, users);
  /** What came later is of this life of the process. */
  const newestBefore = journal.history.held.at(-1)?.entry.sequence ?? 0;

  function reserve(users: readonly KeycloakId[], size: number): () => void {
    requirePossible(users.length, size);
    const isFull =
      count + reservedCount + users.length > max_held || bytes + reserved_bytes + users.length * size > max_held_bytes;
    if (isFull) throw full("for all users together (max_held, max_held_bytes)");
    const fullUser = users.find((user) => {
      const shelf = shelves.get(user);
      const coming = reserved.get(user);
      return (
        (shelf?.entries.length ?? 0) + (coming?.count ?? 0) >= max_held_per_user ||
        (shelf?.bytes ?? 0) + (coming?.bytes ?? 0) + size > user_bytes
      );
    });
    if (fullUser !== undefined) throw full(`for ${fullUser} (max_held_per_user, backlog_bytes)`);
    book(users, 1, size);
    return () => book(users, -1, -size);
  }

  /** Nobody is told to try again in vain. */
  function requirePossible(users: number, size: number): void {
    const share_bytes = Math.floor(user_bytes);
    if (size > share_bytes) throw tooLarge(`have ${share_bytes} bytes (a quarter of backlog_bytes)`);
    if (users > max_held) throw tooLarge(`name ${max_held} users (max_held)`);
    if (users * size > max_held_bytes)
      throw tooLarge(`have ${max_held_bytes} bytes for all its users (max_held_bytes)`);
  }

  function book(users: readonly KeycloakId[], change: 1 | -1, size: number): void {
    for (const user of users) {
      const coming = reserved.get(user) ?? { count: 0, bytes: 0 };
      coming.count += change;
      coming.bytes += size;
      if (coming.count === 0) reserved.delete(user);
      else reserved.set(user, coming);
    }
    reservedCount += change * users.length;
    reserved_bytes += size * users.length;
  }

  function add(entry: NotificationEntry, users: readonly KeycloakId[] = entry.target.users ?? []): void {
    const size = Buffer.byteLength(entry.json);
    for (const user of users) {
      const shelf = shelves.get(user) ?? { entries: [], bytes: 0 };
      shelves.set(user, shelf);
      shelf.entries.push(entry);
      shelf.bytes += size;
      bytes += size;
      count++;
    }
  }

  function waiting(user: KeycloakId, channel: Channel): NotificationEntry[] {
    const shelf = shelves.get(user);
    if (shelf === undefined) return [];
    const isOver = judgeAge();
    return shelf.entries.filter((entry) => channelsOf(entry.target).has(channel) && !isOver(entry));
  }

  /**
   * By service time: the wall clock may have been wrong when it came, and be set right since. Service time leaves out the time
   * between two lives of the process, and so the wall clock is asked as well about what came in a life before.
   */
  function judgeAge(): (entry: NotificationEntry) => boolean {
    const [now_ms, uptime_ms] = [now(), journal.uptime_ms()];
    return (entry) =>
      uptime_ms - entry.uptime_ms >= entry.ttl_seconds * 1000 ||
      (entry.sequence <= newestBefore && heldUntil_ms(entry) <= now_ms);
  }

  function confirm(user: KeycloakId, channel: Channel, upTo: number): void {
    remove(user, (entry) => entry.sequence <= upTo && channelsOf(entry.target).has(channel), "confirmed");
  }

  function expire(): void {
    const isOver = judgeAge();
    for (const user of shelves.keys()) remove(user, isOver, "expired");
  }

  function remove(user: KeycloakId, which: (entry: NotificationEntry) => boolean, why: "confirmed" | "expired"): void {
    const shelf = shelves.get(user);
    const gone = shelf?.entries.filter(which) ?? [];
    if (shelf === undefined || gone.length === 0) return;
    shelf.entries = shelf.entries.filter((entry) => !which(entry));
    const size = gone.reduce((sum, entry) => sum + Buffer.byteLength(entry.json), 0);
    shelf.bytes -= size;
    bytes -= size;
    count -= gone.length;
    if (shelf.entries.length === 0) shelves.delete(user);
    const sequences = gone.map(({ sequence }) => sequence);
    journal.release(user, sequences);
    events.released(why, gone.length);
  }

  return {
    reserve,
    add,
    waiting,
    confirm,
    expire,
    get count() {
      return count;
    },
    get bytes() {
      return bytes;
    },
  };
}

/** Room comes back when users fetch what waits for them, or its ttl ends: not within seconds. */
function full(of: string): Problem {
  const detail = `As much is held as the service takes ${of}. Without a ttl it is sent to who is online.`;
  return new Problem("held_full", { detail, headers: { "Retry-After": "60" } });
}

function tooLarge(limit: string): Problem {
  const detail = `With a ttl, a notification may ${limit}. Without a ttl, it is sent to the users who are online.`;
  return new Problem("too_large", { detail });
}
