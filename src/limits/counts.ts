export interface Counts {
  add(key: string): void;
  /** The counterpart of one `add`. */
  remove(key: string): void;
  of(key: string): number;
  /** Keys that count at least one. */
  readonly size: number;
}

/** How many of something each key has. One that has none is not in memory: keys are addresses, which strangers bring. */
export function createCounts(): Counts {
  const counts = new Map<string, number>();
  return {
    add(key) {
      counts.set(key, (counts.get(key) ?? 0) + 1);
    },
    remove(key) {
      const left = (counts.get(key) ?? 0) - 1;
      if (left > 0) counts.set(key, left);
      else counts.delete(key);
    },
    of: (key) => counts.get(key) ?? 0,
    get size() {
      return counts.size;
    },
  };
}
