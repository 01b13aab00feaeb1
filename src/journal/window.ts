import type { Entry } from "../model/entry.ts";

export interface Window {
  add(entry: Entry): void;
  /** Drops what is too old. Adding drops what is too much. */
  trim(): void;
  readonly entries: number;
  readonly bytes: number;
}

/** The recent part of the journal that can be replayed: bounded by age and by size, oldest out first. */
export function createWindow(options: { seconds: number; bytes: number; now: () => number }): Window {
  const kept: Entry[] = [];
  let first = 0;
  let bytes = 0;

  function dropOldest(): void {
    const entry = kept[first++];
    if (entry !== undefined) bytes -= sizeOf(entry);
    // Moved down in large steps, so that dropping one costs nothing most of the time.
    if (first > 1024 && first * 2 > kept.length) {
      kept.splice(0, first);
      first = 0;
    }
  }

  return {
    add(entry) {
      kept.push(entry);
      bytes += sizeOf(entry);
      while (bytes > options.bytes) dropOldest();
    },
    trim() {
      const oldest_ms = options.now() - options.seconds * 1000;
      while ((kept[first]?.time_ms ?? Infinity) < oldest_ms) dropOldest();
    },
    get entries() {
      return kept.length - first;
    },
    get bytes() {
      return bytes;
    },
  };
}

/** What an entry holds in memory, roughly: its text and its objects. */
function sizeOf(entry: Entry): number {
  const overhead = 200;
  return overhead + (entry.kind === "notification" ? entry.json.length * 2 : 0);
}
