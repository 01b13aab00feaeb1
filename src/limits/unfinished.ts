import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import { firstToGo } from "./share.ts";

/** A body that is being received. */
export interface Body {
  /** It takes so many bytes more. Throws if it has been dropped. */
  grow(bytes: number): void;
  /** Called if it is dropped. There is one listener. */
  onDrop(listener: () => void): void;
}

/** The bodies that are being received: their bytes are nobody's yet, for the key of a notification may be in the last one. */
export interface Unfinished {
  /**
   * Resolves as `read` does, which a sender may hold up for as long as they like. Throws `overloaded`, or what `dropAll` is
   * given, as soon as the body is dropped.
   *
   * @param holder by whom it is counted; asked only when there are too many bytes.
   */
  receive<T>(holder: () => string, read: (body: Body) => Promise<T>): Promise<T>;
  dropAll(reason: Problem): void;
  /** Drops a half of them, or more if so many are needed; tells how many. */
  dropHalf(needed: number, reason: Problem): number;
  readonly bytes: number;
  readonly count: number;
}

interface Entry {
  readonly holder: () => string;
  readonly reject: (reason: Problem) => void;
  bytes: number;
  /** Undefined: nobody has asked yet, or it is over. */
  holding: Holding | undefined;
  isOver: boolean;
  onDrop: () => void;
}

interface Holding {
  readonly name: string;
  /** Oldest first. */
  readonly entries: Set<Entry>;
  bytes: number;
}

/** Bun makes the answer to a request whose body is missing inside of the answer before: those to 3,000 at once overflow its stack. */
const dropsInStep = 500;

/**
 * When there are too many bytes in all, the holder of most of them loses the oldest body: a flood takes the room from itself, and
 * nobody else is refused.
 */
export function createUnfinished(
  { max_unfinished_bytes }: Pick<Settings, "max_unfinished_bytes">,
  events: Pick<Events["requests"], "limited">,
): Unfinished {
  let total_bytes = 0;
  /** Whose holders nobody has asked for: nearly all are over in the step in which they come, and an address takes 5 µs. */
  const unasked = new Set<Entry>();
  const holdings = new Map<string, Holding>();
  /** Those who have to be told that they were dropped. */
  const waiting: (() => void)[] = [];
  let isTelling = false;

  async function receive<T>(holder: () => string, read: (body: Body) => Promise<T>): Promise<T> {
    const { promise: dropped, reject } = Promise.withResolvers<never>();
    const entry: Entry = { holder, reject, bytes: 0, holding: undefined, isOver: false, onDrop() {} };
    unasked.add(entry);
    const body: Body = {
      grow: (bytes) => grow(entry, bytes),
      onDrop: (listener) => void (entry.onDrop = listener),
    };
    try {
      return await Promise.race([read(body), dropped]);
    } finally {
      end(entry);
    }
  }

  function grow(entry: Entry, bytes: number): void {
    if (entry.isOver) throw overloaded();
    entry.bytes += bytes;
    if (entry.holding !== undefined) entry.holding.bytes += bytes;
    total_bytes += bytes;
    for (let excess = excessive(); excess !== undefined; excess = excessive()) {
      events.limited("max_unfinished_bytes");
      drop(excess, overloaded());
    }
  }

  /** The body that has to go. Undefined: there is room for all. */
  function excessive(): Entry | undefined {
    if (total_bytes <= max_unfinished_bytes) return undefined;
    askAll();
    // All are looked at: each time, somebody has sent a body that is dropped.
    let most: Holding | undefined;
    for (const holding of holdings.values()) if (holding.bytes > (most?.bytes ?? 0)) most = holding;
    const [oldest] = most?.entries ?? [];
    return oldest;
  }

  function dropHalf(needed: number, reason: Problem): number {
    askAll();
    const all = holdings.values().flatMap(({ name, entries }) => entries.values().map((entry) => ({ name, entry })));
    const chosen = firstToGo([...all], ({ name }) => name, needed);
    for (const { entry } of chosen) drop(entry, reason);
    return chosen.length;
  }

  function askAll(): void {
    for (const entry of unasked) hold(entry);
    unasked.clear();
  }

  function hold(entry: Entry): void {
    const name = entry.holder();
    const holding = holdings.get(name) ?? { name, entries: new Set(), bytes: 0 };
    holdings.set(name, holding);
    holding.entries.add(entry);
    holding.bytes += entry.bytes;
    entry.holding = holding;
  }

  function drop(entry: Entry, reason: Problem): void {
    end(entry);
    waiting.push(() => {
      entry.reject(reason);
      entry.onDrop();
    });
    if (isTelling) return;
    isTelling = true;
    queueMicrotask(tellSome);
  }

  function tellSome(): void {
    isTelling = false;
    for (const tell of waiting.splice(0, dropsInStep)) tell();
    if (waiting.length > 0) setImmediate(tellSome);
  }

  function end(entry: Entry): void {
    if (entry.isOver) return;
    entry.isOver = true;
    total_bytes -= entry.bytes;
    unasked.delete(entry);
    const { holding } = entry;
    if (holding === undefined) return;
    entry.holding = undefined;
    holding.entries.delete(entry);
    holding.bytes -= entry.bytes;
    if (holding.entries.size === 0) holdings.delete(holding.name);
  }

  return {
    receive,
    dropAll(reason) {
      for (const entry of unasked) drop(entry, reason);
      for (const { entries } of holdings.values()) for (const entry of entries) drop(entry, reason);
    },
    dropHalf,
    get bytes() {
      return total_bytes;
    },
    get count() {
      return holdings.values().reduce((sum, { entries }) => sum + entries.size, unasked.size);
    },
  };
}

function overloaded(): Problem {
  const detail =
    "There are more bodies on their way than the service takes (max_unfinished_bytes): send this again, at once.";
  // What is left of the body is not read.
  return new Problem("overloaded", { detail, headers: { Connection: "close" } });
}
