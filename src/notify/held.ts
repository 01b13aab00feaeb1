import { heldUntil_ms, type NotificationEntry } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";

export interface Held {
  /** Throws `held_full` if a notification of this size cannot be held for each of these users. */
  reserve(users: readonly KeycloakId[], bytes: number): void;
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
  let count = 0;
  let bytes = 0;

  function reserve(users: readonly KeycloakId[], size: number): void {
    const isFull =
      count + users.length > limits.total ||
      bytes + users.length * size > limits.totalBytes ||
      users.some((user) => {
        const shelf = shelves.get(user);
        return (shelf?.entries.length ?? 0) >= limits.perUser || (shelf?.bytes ?? 0) + size > limits.bytesPerUser;
      });
    if (isFull) throw new Problem("held_full");
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

function isFor({ target }: NotificationEntry, channel: Channel): boolean {
  return target.channels?.includes(channel) ?? true;
}
