import { describe, expect, test } from "bun:test";
import { createCounts } from "../src/limits/counts.ts";
import { createRateLimit } from "../src/limits/rate.ts";
import { pick, seeded } from "./support/random.ts";

function limited(rate_per_second: number, burst: number, mostKeys = 1000) {
  const clock = { now_ms: 1_800_000_000_000 };
  const limit = createRateLimit({ rate_per_second, burst, mostKeys, now: () => clock.now_ms });
  const takeMany = (key: string, count: number) => Array.from({ length: count }, () => limit.take(key));
  const free = (key: string) => takeMany(key, 2 * burst + 10).filter((wait) => wait === 0).length;
  return { limit, clock, takeMany, free };
}

describe("a rate limit", () => {
  test("lets a burst go on, then as many as the rate says", () => {
    const { clock, free } = limited(10, 50);
    expect(free("a")).toBe(50);
    clock.now_ms += 1000;
    expect(free("a")).toBe(10);
    clock.now_ms += 300;
    expect(free("a")).toBe(3);
    clock.now_ms += 3_600_000;
    expect(free("a")).toBe(50);
  });

  test("lets through just what it says, at high rates and after a long time as well", () => {
    const { clock, free } = limited(10_000, 20_000);
    clock.now_ms += 400 * 86_400_000;
    expect(free("a")).toBe(20_000);
    clock.now_ms += 1;
    expect(free("a")).toBe(10);
  });

  test("counts each key for itself", () => {
    const { free } = limited(1, 3);
    expect([free("a"), free("b"), free("__proto__")]).toEqual([3, 3, 3]);
  });

  test("takes rates that are fractions: a hundred a minute", () => {
    const { clock, limit, free } = limited(100 / 60, 100);
    expect(free("a")).toBe(100);
    expect(limit.take("a")).toBe(1);
    clock.now_ms += 60_000;
    expect(free("a")).toBe(100);
  });

  test("tells after how many whole seconds it is worth trying again", () => {
    const { clock, limit } = limited(0.1, 1);
    expect([limit.take("a"), limit.take("a")]).toEqual([0, 10]);
    clock.now_ms += 500;
    expect(limit.take("a")).toBe(10);
    clock.now_ms += 8600;
    expect(limit.take("a")).toBe(1);
    clock.now_ms += 900;
    expect([limit.take("a"), limit.take("a")]).toEqual([0, 10]);
  });

  test("does not count what it refuses: whoever goes on knocking is let in at the same moment", () => {
    const { clock, takeMany, limit } = limited(1, 2);
    takeMany("a", 500);
    clock.now_ms += 999;
    expect(limit.take("a")).toBe(1);
    clock.now_ms += 1;
    expect(limit.take("a")).toBe(0);
  });

  test("locks nobody out when the clock is set back", () => {
    const { clock, limit, free } = limited(1, 5);
    expect(free("a")).toBe(5);
    clock.now_ms -= 3_600_000;
    expect([limit.take("a"), limit.take("b")]).toEqual([1, 0]);
    clock.now_ms += 1000;
    expect([limit.take("a"), limit.take("a")]).toEqual([0, 1]);
  });
});

describe("the memory of a rate limit", () => {
  test("has a bound, whoever brings how many keys", () => {
    const { limit } = limited(0.001, 3, 100);
    for (let i = 0; i < 10_000; i++) {
      limit.take(`stranger ${i}`);
      expect(limit.size).toBeLessThanOrEqual(100);
    }
  });

  test("is not flushed by a flood of new keys: who was limited stays limited", () => {
    for (let before = 0; before < 40; before++) {
      const { limit, takeMany } = limited(0.001, 20, 100);
      for (let i = 0; i < before; i++) limit.take(`early ${i}`);
      takeMany("attacker", 30);
      for (let i = 0; i < 2000; i++) limit.take(`stranger ${i}`);
      expect([before, limit.take("attacker") > 0]).toEqual([before, true]);
    }
  });

  test("keeps those who were limited next to each other, too", () => {
    const { limit, takeMany } = limited(0.001, 20, 100);
    const attackers = Array.from({ length: 7 }, (_, i) => `attacker ${i}`);
    for (const name of attackers) takeMany(name, 30);
    for (let i = 0; i < 2000; i++) limit.take(`stranger ${i}`);
    expect(attackers.filter((name) => limit.take(name) === 0)).toEqual([]);
  });

  test("is given back after a flood, by the keys that come then, known or new", () => {
    const { limit, clock } = limited(10, 100, 10_000);
    for (let i = 0; i < 10_000; i++) limit.take(`stranger ${i}`);
    expect(limit.size).toBe(10_000);
    clock.now_ms += 100;
    for (let i = 0; i < 10_000; i++) limit.take("client");
    expect(limit.size).toBe(1);
  });

  test("works with room for one", () => {
    const { limit, takeMany } = limited(1, 2, 1);
    expect(takeMany("a", 3)).toEqual([0, 0, 1]);
    expect([limit.take("b"), limit.size]).toEqual([0, 1]);
  });
});

/** Counts in units of a ten-thousandth of a token, of which a rate with one decimal gives a whole number a millisecond. */
function naive(tenthsPerSecond: number, burst: number) {
  const one = 10_000;
  const levels = new Map<string, number>();
  return {
    pass(ms: number) {
      for (const [key, level] of levels) levels.set(key, Math.min(burst * one, level + ms * tenthsPerSecond));
    },
    take(key: string): number {
      const level = levels.get(key) ?? burst * one;
      levels.set(key, level >= one ? level - one : level);
      return level >= one ? 0 : Math.ceil((one - level) / tenthsPerSecond / 1000);
    },
  };
}

test("says what a naive model says, whatever the rates, the times and the keys", () => {
  const { seed, random } = seeded();
  const below = (limit: number) => Math.floor(random() * limit);
  for (let round = 0; round < 100; round++) {
    const [tenths, burst] = [1 + below(pick(random, [10, 100, 5000])), 1 + below(pick(random, [2, 20, 300]))];
    const { limit, clock } = limited(tenths / 10, burst);
    const model = naive(tenths, burst);
    for (let step = 0; step < 500; step++) {
      if (random() < 0.02) clock.now_ms -= below(1_000_000);
      else {
        const pause_ms = random() < 0.5 ? 0 : below(pick(random, [5, 300, 20_000]));
        clock.now_ms += pause_ms;
        model.pass(pause_ms);
      }
      // After the clock was set back, this is the call that notices.
      const key = pick(random, ["a", "b", "c"]);
      const [said, expected] = [limit.take(key), model.take(key)];
      expect({ seed, round, step, said }).toEqual({ seed, round, step, said: expected });
    }
  }
});

test("counts forget a key that has none left, and never go below", () => {
  const counts = createCounts();
  for (const key of ["a", "a", "b", "__proto__"]) counts.add(key);
  expect([counts.of("a"), counts.of("b"), counts.of("__proto__"), counts.of("c"), counts.size]).toEqual([
    2, 1, 1, 0, 3,
  ]);
  for (const key of ["a", "b", "b", "c"]) counts.remove(key);
  expect([counts.of("a"), counts.of("b"), counts.of("c"), counts.size]).toEqual([1, 0, 0, 2]);
  counts.add("b");
  expect(counts.of("b")).toBe(1);
});
