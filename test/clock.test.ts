import { describe, expect, test } from "bun:test";
import { createClock, stampReserve, type ClockState } from "../src/clock/clock.ts";
import { createElapsed } from "../src/clock/elapsed.ts";
import { createRealmClocks } from "../src/clock/realm-clocks.ts";
import { createWall } from "../src/clock/wall.ts";
import { createClocks } from "./support/clocks.ts";
import { pick, seeded } from "./support/random.ts";

const hour_ms = 3_600_000;

function wallOf(clocks: ReturnType<typeof createClocks>) {
  const steps: number[] = [];
  const wall = createWall({ ...clocks, events: { stepped: (by_seconds) => void steps.push(by_seconds) } });
  return { wall, steps };
}

describe("a monotonic clock", () => {
  test("that goes back or has fractions makes no elapsed time that does", () => {
    let now = 1000.5;
    const elapsed_ms = createElapsed(() => now);
    now += 0.9;
    expect(elapsed_ms()).toBe(0);
    now += 0.2;
    expect(elapsed_ms()).toBe(1);
    now -= 500;
    expect(elapsed_ms()).toBe(1);
    now += 10;
    expect(elapsed_ms()).toBe(11);
  });
});

describe("the wall clock", () => {
  test("is believed without its step for ten minutes, and then with it", () => {
    const clocks = createClocks(0);
    const { wall, steps } = wallOf(clocks);
    clocks.pass(5000);
    clocks.step(hour_ms);
    clocks.pass(7000);
    expect([wall.now(), wall.believed_ms(), wall.elapsed_ms()]).toEqual([hour_ms + 12_000, 12_000, 12_000]);
    clocks.pass(599_999);
    expect(wall.believed_ms()).toBe(611_999);
    clocks.pass(1);
    expect(wall.believed_ms()).toBe(hour_ms + 612_000);
    expect(steps).toEqual([hour_ms / 1000]);
  });

  test("is believed as before once it is set right again", () => {
    const clocks = createClocks(0);
    const { wall, steps } = wallOf(clocks);
    for (const by_ms of [2 * hour_ms, -2 * hour_ms - 40]) {
      clocks.step(by_ms);
      clocks.pass(3000);
      wall.believed_ms();
    }
    expect(wall.believed_ms()).toBe(6000);
    expect(steps).toEqual([7200, -7200.04]);
  });

  test("may be slewed without a word", () => {
    const clocks = createClocks(0);
    const { wall, steps } = wallOf(clocks);
    for (let second = 0; second < 10_000; second++) {
      clocks.pass(1000);
      clocks.step(1);
      wall.steps();
    }
    expect([steps, wall.believed_ms()]).toEqual([[], 10_010_000]);
  });
});

describe("stamps", () => {
  /** A journal whose process may be killed at any time: what it was told to keep may be lost, but for the reserve. */
  function journalOf(clocks: ReturnType<typeof createClocks>) {
    let stored: ClockState = { wall_ms: 0, stamp: 0, realms: {} };
    let kept = 0;
    return {
      open() {
        const stamp = Math.max(stored.stamp, clocks.now());
        stored = { ...stored, stamp: stamp + stampReserve };
        return createClock(wallOf(clocks).wall, {
          history: { clock: { ...stored, stamp } },
          uptime_ms: clocks.monotonic,
          keep(state) {
            stored = { ...stored, ...state };
            kept++;
          },
        });
      },
      kept: () => kept,
    };
  }

  test("grow with every token and revocation, in any life of the journal, whatever the wall clock does", () => {
    const { seed, random } = seeded();
    const clocks = createClocks();
    const journal = journalOf(clocks);
    let clock = journal.open();
    let last = 0;
    for (let i = 0; i < 5000; i++) {
      const stamp = clock.stamp();
      expect({ seed, i, grows: stamp > last }).toEqual({ seed, i, grows: true });
      last = stamp;
      clocks.pass(Math.floor(random() * 100));
      if (random() < 0.05) clocks.step(pick(random, [-hour_ms, hour_ms, -3000]));
      if (random() < 0.02) clock.stop();
      if (random() < 0.05) clock = journal.open();
    }
  });

  test("are kept once for half a million, long before the reserve is used up", () => {
    const journal = journalOf(createClocks());
    const clock = journal.open();
    for (let i = 0; i < stampReserve / 2; i++) clock.stamp();
    expect(journal.kept()).toBe(0);
    clock.stamp();
    expect(journal.kept()).toBe(1);
  });

  test("are larger than one that came back with our signature", () => {
    const clock = journalOf(createClocks()).open();
    const before = clock.stamp();
    clock.sawStamp(before - 1);
    clock.sawStamp(before + 5_000_000);
    expect(clock.stamp()).toBe(before + 5_000_001);
    expect(clock.moment().stamp).toBe(before + 5_000_002);
  });
});

describe("the clock of a realm", () => {
  const realm = "https://id.example.com/realms/main";
  /** The moment `uptime_ms`, for a service whose wall clock shows this. */
  const moment = (uptime_ms: number, wall_ms: number, believed_ms = wall_ms) => ({
    stamp: 0,
    uptime_ms,
    wall_ms,
    believed_ms,
  });
  function setUp(stored: Record<string, number> = {}) {
    const clocks = createClocks(0);
    const realms = createRealmClocks(stored, clocks.monotonic);
    return { clocks, realms, atMost: (at: ReturnType<typeof moment>) => realms.atMost_ms(at)[realm] };
  }

  test("goes on from the newest token that was seen", () => {
    const { clocks, realms } = setUp();
    expect(realms.atLeast_ms(realm, moment(0, 0))).toBeUndefined();
    realms.saw(realm, 100_000);
    clocks.pass(5000);
    realms.saw(realm, 90_000);
    expect(realms.atLeast_ms(realm, moment(5000, 0))).toBe(105_000);
    realms.saw(realm, 107_000);
    expect(realms.atLeast_ms(realm, moment(6000, 0))).toBe(108_000);
    expect(realms.offsets).toEqual({ [realm]: 102_000 });
  });

  test("is taken from ours where ours goes with it, and from its tokens where not", () => {
    const { clocks, realms, atMost } = setUp();
    // Two that were new, for they tell the same.
    realms.saw(realm, 100_000);
    clocks.pass(3000);
    realms.saw(realm, 102_001);
    expect(atMost(moment(1000, 101_400))).toBe(101_400);
    expect(atMost(moment(1000, 106_000))).toBe(106_000);
    // Ours is ahead, or behind: the rest of the second in which the newest token was issued is in doubt.
    expect(atMost(moment(1000, 106_001))).toBe(101_999);
    expect(atMost(moment(1000, 100_899))).toBe(101_999);
    // After a step, the clock before it counts first.
    expect(atMost(moment(1000, 104_000, 101_500))).toBe(101_500);
    expect(atMost(moment(1000, 101_500, 500_000))).toBe(101_500);
    expect(realms.atMost_ms(moment(1000, 0))).toEqual({ [realm]: 101_999 });
  });

  test("is ours as long as the newest token may have been an old one", () => {
    const { clocks, realms, atMost } = setUp({ [realm]: 100_000 });
    // It went on while the service was stopped, for nobody knows how long.
    expect(atMost(moment(0, 400_001))).toBe(400_001);
    realms.saw(realm, 150_000);
    expect(atMost(moment(0, 450_000))).toBe(450_000);
    expect(atMost(moment(0, 450_001))).toBe(150_999);
    clocks.pass(60_000);
    // The same token again says nothing new, nor does an older one.
    realms.saw(realm, 150_000);
    realms.saw(realm, 120_000);
    expect(atMost(moment(0, 300_000))).toBe(300_000);
    realms.saw(realm, 209_000);
    expect(atMost(moment(0, 300_000))).toBe(150_999);
    realms.saw(realm, 260_000);
    expect(atMost(moment(0, 300_000))).toBe(300_000);
  });

  test("that was ahead once is forgotten after an hour or two, and not before", () => {
    const { clocks, realms } = setUp();
    realms.saw(realm, 10 * hour_ms);
    clocks.pass(hour_ms - 1);
    realms.saw(realm, hour_ms);
    expect(realms.offsets).toEqual({ [realm]: 10 * hour_ms });
    clocks.pass(1);
    realms.saw(realm, hour_ms);
    expect(realms.offsets).toEqual({ [realm]: 10 * hour_ms });
    clocks.pass(hour_ms);
    realms.saw(realm, 2 * hour_ms);
    expect(realms.offsets).toEqual({ [realm]: 0 });
  });
});
