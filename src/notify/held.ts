import { heldUntil_ms, type NotificationEntry } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";

export interface Held {
  /**
   * Throws `held_full` if a notification of this size cannot be held for each of these users. Otherwise keeps the room for
   * it, while the journal makes it durable, until the returned function is called.
   */
  reserve(users: readonly KeycloakId[], bytes: number): () => void;
  /** Holds a notification for those of its users who have not got it yet: all of them, unless it was held before a restart. */
  add(entry: NotificationEntry, users?: readonly KeycloakId[]): void;
  /** What waits for this user on this channel, in order. */
  waiting(user: KeycloakId, channel: Channel): readonly NotificationEntry[];
  /** A connection of the user on the channel has all that came up to this sequence. */
  confirm(user: KeycloakId, channel: Channel, upTo: number): void;
  has(user: KeycloakId): boolean;
  /** Forgets what nobody fetched in time. */
  expire(): void;
  readonly count: number;
  readonly bytes: number;
}

export interface HeldNeeds {
  readonly limits: {
    readonly perUser: number;
    readonly bytesPerUser: number;
    readonly total: number;
    readonly totalBytes: number;
  };
  readonly now: () => number;
  /** They need not be stored any longer. */
  readonly release: (user: KeycloakId, sequences: readonly number[], why: "confirmed" | "expired") => void;
}

interface Shelf {
  entries: NotificationEntry[];
  bytes: number;
}

/** Notifications with a `ttl`: kept for each user until he is known to have them (RFC 8030 section 5.2, for web pages). */
export function createHeld(needs: HeldNeeds): Held {
  const { limits, now, release } = needs;
  const shelves = new Map<KeycloakId, Shelf>();
  const reserved = new Map<KeycloakId, { count: number; bytes: number }>();
  let count = 0;
  let bytes = 0;
  let reservedCount = 0;
  let reservedBytes = 0;

  function reserve(users: readonly KeycloakId[], size: number): () => void {
    const isFull =
      count + reservedCount + users.length > limits.total ||
      bytes + reservedBytes + users.length * size > limits.totalBytes;
    if (isFull) throw full("for all users together (max_held, max_held_bytes)");
    const fullUser = users.find((user) => {
      const shelf = shelves.get(user);
      const coming = reserved.get(user);
      return (
        (shelf?.entries.length ?? 0) + (coming?.count ?? 0) >= limits.perUser ||
        (shelf?.bytes ?? 0) + (coming?.bytes ?? 0) + size > limits.bytesPerUser
      );
    });
    if (fullUser !== undefined) throw full(`for ${fullUser} (max_held_per_user, backlog_bytes)`);
    book(users, 1, size);
    return () => book(users, -1, -size);
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
    reservedBytes += size * users.length;
  }

  function add(entry: NotificationEntry, users: readonly KeycloakId[] = entry.target.users ?? []): void {
    for (const user of users) {
      const shelf = shelves.get(user) ?? { entries: [], bytes: 0 };
      shelves.set(user, shelf);
      shelf.entries.push(entry);
      shelf.bytes += entry.json.length;
      bytes += entry.json.length;
      count++;
    }
  }

  function waiting(user: KeycloakId, channel: Channel): NotificationEntry[] {
    const shelf = shelves.get(user);
    if (shelf === undefined) return [];
    const now_ms = now();
    return shelf.entries.filter((entry) => isFor(entry, channel) && heldUntil_ms(entry) > now_ms);
  }

  function confirm(user: KeycloakId, channel: Channel, upTo: number): void {
    remove(user, (entry) => entry.sequence <= upTo && isFor(entry, channel), "confirmed");
  }

  function expire(): void {
    const now_ms = now();
    for (const user of shelves.keys()) remove(user, (entry) => heldUntil_ms(entry) <= now_ms, "expired");
  }

  function remove(user: KeycloakId, which: (entry: NotificationEntry) => boolean, why: "confirmed" | "expired"): void {
    const shelf = shelves.get(user);
    const gone = shelf?.entries.filter(which) ?? [];
    if (shelf === undefined || gone.length === 0) return;
    shelf.entries = shelf.entries.filter((entry) => !which(entry));
    const size = gone.reduce((sum, entry) => sum + entry.json.length, 0);
    shelf.bytes -= size;
    bytes -= size;
    count -= gone.length;
    if (shelf.entries.length === 0) shelves.delete(user);
    release(
      user,
      gone.map(({ sequence }) => sequence),
      why,
    );
  }

  return {
    reserve,
    add,
    waiting,
    confirm,
    has: (user) => shelves.has(user),
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

function isFor({ target }: NotificationEntry, channel: Channel): boolean {
  return target.channels?.includes(channel) ?? true;
}
