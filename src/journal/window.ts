import { cursorAt, partsOf, type Cursor } from "../model/cursor.ts";
import type { Entry, NotificationEntry } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { Settings } from "../settings/schema.ts";
import { at, createDeque, lengthOf, push, shift, type Deque } from "./deque.ts";
import type { History } from "./journal.ts";
import { list_bytes, sizeOf } from "./size.ts";

/** Why nothing can be replayed from a place: it is of no journal of ours, or too long ago, or too much has happened since. */
export type Gone = "unknown" | "trimmed" | "too_much";

export interface Window {
  add(entry: Entry): void;
  /** Drops what is too old. Adding drops what is too much. */
  trim(): void;
  /** The place of the newest entry. */
  head(): Cursor;
  /** The sequence that a cursor stands for, if this journal ever gave it out; whether it can be replayed from is another thing. */
  locate(cursor: Cursor): number | undefined;
  /** All that came for this user on this channel after a place, in order. Costs what it returns, and no more than `limit_bytes`. */
  since(sequence: number, user: KeycloakId, channel: Channel, limit_bytes: number): readonly NotificationEntry[] | Gone;
  /** The sequence of the newest entry. */
  readonly last: number;
  /** Everything up to here is gone. */
  readonly trimmedTo: number;
  readonly entries: number;
  /** What all of it takes in memory. */
  readonly bytes: number;
  /** What has been added since the start, each entry counted with what it can take at most: `bytes` never grows by more. */
  readonly added_bytes: number;
  /** When the oldest entry was accepted, in service time. */
  readonly oldest_ms: number | undefined;
}

export type WindowSettings = Pick<Settings, "journal_window_seconds" | "journal_window_bytes">;

/** What is sent around a message, roughly: names, cursor, lengths. */
const frame_bytes = 64;

/**
 * The recent part of the journal: bounded by age and by size, oldest out first, indexed by target. Age is service time: an entry
 * that came while the wall clock was ahead must not keep all that came after it.
 */
export function createWindow(
  { journal_window_seconds, journal_window_bytes }: WindowSettings,
  { epochs, entries, trimmedTo: before }: Pick<History, "epochs" | "entries" | "trimmedTo">,
  uptime_ms: () => number,
): Window {
  const current = epochs.at(-1);
  if (current === undefined) throw new Error("a journal has an epoch");
  const all = createDeque<Entry>();
  const byChannel = new Map<Channel, Deque<NotificationEntry>>();
  const byUser = new Map<KeycloakId, Deque<NotificationEntry>>();
  let trimmedTo = before;
  // Stored, and not of the newest entry that is left: that may be gone, and the head has to be a cursor that is good.
  let last = current.first - 1;
  let entries_bytes = 0;
  let added_bytes = 0;
  let made = cursorAt(current.epoch, last);
  let madeFor = last;
  for (const entry of entries) add(entry);

  function add(entry: Entry): void {
    push(all, entry);
    last = Math.max(last, entry.sequence);
    const size_bytes = sizeOf(entry);
    entries_bytes += size_bytes;
    added_bytes += size_bytes + listsOf(entry) * list_bytes;
    if (entry.kind === "notification") file(entry);
    while (bytes() > journal_window_bytes) dropOldest();
  }

  function bytes(): number {
    return entries_bytes + (byChannel.size + byUser.size) * list_bytes;
  }

  function trim(): void {
    const oldest_ms = uptime_ms() - journal_window_seconds * 1000;
    while ((at(all, 0)?.uptime_ms ?? Infinity) < oldest_ms) dropOldest();
  }

  function dropOldest(): void {
    const entry = shift(all);
    if (entry === undefined) return;
    trimmedTo = entry.sequence;
    entries_bytes -= sizeOf(entry);
    if (entry.kind !== "notification") return;
    // The oldest of all is the oldest in each of its lists.
    const { users, channels } = entry.target;
    if (users === undefined) for (const channel of channels) shiftIn(byChannel, channel);
    else for (const user of users) shiftIn(byUser, user);
  }

  function file(entry: NotificationEntry): void {
    const { users, channels } = entry.target;
    if (users === undefined) for (const channel of channels) pushIn(byChannel, channel, entry);
    else for (const user of users) pushIn(byUser, user, entry);
  }

  /** Asked at each connect, and mostly the same: made once for each place. */
  function head(): Cursor {
    if (madeFor !== last) [made, madeFor] = [cursorAt(current?.epoch ?? "", last), last];
    return made;
  }

  function locate(cursor: Cursor): number | undefined {
    const { epoch, sequence } = partsOf(cursor);
    const index = epochs.findIndex((candidate) => candidate.epoch === epoch);
    const found = epochs[index];
    if (found === undefined) return undefined;
    // Beyond what the journal holds under this epoch: of a copy that was lost.
    const end = (epochs[index + 1]?.first ?? last + 1) - 1;
    return sequence >= found.first - 1 && sequence <= end ? sequence : undefined;
  }

  function since(
    sequence: number,
    user: KeycloakId,
    channel: Channel,
    limit_bytes: number,
  ): NotificationEntry[] | Gone {
    if (sequence < trimmedTo) return "trimmed";
    const found: NotificationEntry[] = [];
    let size_bytes = 0;
    for (const list of [byChannel.get(channel), byUser.get(user)]) {
      for (const entry of after(list, sequence)) {
        if (entry.target.channels?.includes(channel) === false) continue;
        size_bytes += Buffer.byteLength(entry.json) + frame_bytes;
        // At once: a client says itself how long it was away, and may say it again and again.
        if (size_bytes > limit_bytes) return "too_much";
        found.push(entry);
      }
    }
    return found.toSorted((a, b) => a.sequence - b.sequence);
  }

  return {
    add,
    trim,
    head,
    locate,
    since,
    get last() {
      return last;
    },
    get oldest_ms() {
      return at(all, 0)?.uptime_ms;
    },
    get trimmedTo() {
      return trimmedTo;
    },
    get entries() {
      return lengthOf(all);
    },
    get bytes() {
      return bytes();
    },
    get added_bytes() {
      return added_bytes;
    },
  };
}

function pushIn<K>(lists: Map<K, Deque<NotificationEntry>>, key: K, entry: NotificationEntry): void {
  const list = lists.get(key);
  if (list !== undefined) return push(list, entry);
  lists.set(key, createDeque([entry]));
}

function shiftIn<K>(lists: Map<K, Deque<NotificationEntry>>, key: K): void {
  const list = lists.get(key);
  if (list === undefined) return;
  shift(list);
  if (lengthOf(list) === 0) lists.delete(key);
}

/** The part of a list after a sequence, found by bisection. */
function* after(list: Deque<NotificationEntry> | undefined, sequence: number): Generator<NotificationEntry> {
  if (list === undefined) return;
  let [low, high] = [0, lengthOf(list)];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((at(list, middle)?.sequence ?? Infinity) > sequence) high = middle;
    else low = middle + 1;
  }
  for (let entry = at(list, low); entry !== undefined; entry = at(list, ++low)) yield entry;
}

/** In how many lists an entry is. */
function listsOf(entry: Entry): number {
  if (entry.kind !== "notification") return 0;
  const { users, channels } = entry.target;
  return (users ?? channels ?? []).length;
}
