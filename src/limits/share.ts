/**
 * The half that makes way, or more if so many are needed: of those who hold most, the oldest first, so that a flood makes room
 * by itself, and a holder of a single one is the last to lose it.
 *
 * @param all oldest first
 */
export function firstToGo<T>(all: readonly T[], holderOf: (one: T) => string, needed: number): T[] {
  const groups = Map.groupBy(all, holderOf).values();
  // How many newer ones the same holder has.
  const ranked = groups.flatMap((group) => group.map((one, i) => ({ one, newer: group.length - 1 - i })));
  const sorted = Array.from(ranked).toSorted((a, b) => b.newer - a.newer);
  return sorted.slice(0, Math.max(needed, Math.ceil(sorted.length / 2))).map(({ one }) => one);
}
