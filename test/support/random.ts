export type Random = () => number;

/** A generator that can be repeated: set SEED to what a failure printed. */
export function seeded(): { seed: number; random: Random } {
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 32));
  return { seed, random: generator(seed) };
}

/** Mulberry32: small, and good enough to shuffle with. */
export function generator(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pick<T>(random: Random, items: readonly [T, ...T[]] | readonly T[]): T {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}
