import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { createRealmClocks } from "../src/clock/realm-clocks.ts";
import { seeded } from "./support/random.ts";
import { scale } from "./support/scale.ts";

/**
 * What a realm's clock shows is told by its tokens, whose age nobody knows. Here it is known: the realm's clock is right, and
 * shows 0 when the service starts.
 */

const realm = "https://id.example.com/realms/main";
const life_ms = 300_000;
const longest_ms = 3_000_000;

/** A service that tokens reach, in order. Tells when the realm's clock is believed to stand, while ours is ahead by so much. */
function told(tokens: readonly { readonly iat_ms: number; readonly at_ms: number }[], ahead_ms: number): number {
  let uptime_ms = 0;
  const realms = createRealmClocks({}, () => uptime_ms);
  for (const { iat_ms, at_ms } of tokens) {
    uptime_ms = at_ms;
    realms.saw(realm, iat_ms, life_ms);
  }
  const ours_ms = uptime_ms + ahead_ms;
  const moment = { stamp: 0, uptime_ms, wall_ms: ours_ms, believed_ms: ours_ms };
  return (realms.atMost_ms(moment)[realm] ?? NaN) - uptime_ms;
}

const wholeSecond = (time_ms: number): number => Math.floor(time_ms / 1000) * 1000;
const times = (max: number) => fc.integer({ min: 0, max });
const runs = () => ({ seed: seeded().seed, numRuns: scale.modelRuns });

describe("the clock of a realm", () => {
  test("is told by ours, while only tokens of one moment have come, however old", () => {
    const one = fc.record({ later: fc.constantFrom(0, 1000, 2000), age: times(life_ms - 2000) });
    fc.assert(
      fc.property(times(longest_ms), fc.array(one, { minLength: 1 }), (moment_ms, tokens) => {
        const issued = wholeSecond(moment_ms);
        const came = tokens.map(({ later, age }) => ({ iat_ms: issued + later, at_ms: issued + 2000 + age }));
        expect(
          told(
            came.toSorted((a, b) => a.at_ms - b.at_ms),
            0,
          ),
        ).toBeGreaterThanOrEqual(0);
      }),
      runs(),
    );
  });

  test("is told by two new tokens of different moments, wherever ours stands", () => {
    const token = fc.record({ at_ms: times(life_ms), age: fc.oneof(times(100), times(life_ms)) });
    fc.assert(
      fc.property(fc.array(token), times(longest_ms), fc.integer(), (others, start_ms, ahead_ms) => {
        const fresh = [0, 5000].map((later) => ({ at_ms: start_ms + later, age: 0 }));
        const before = others
          .map(({ at_ms, age }) => ({ at_ms: start_ms - at_ms, age }))
          .filter((one) => one.at_ms >= 0);
        const all = [...before.toSorted((a, b) => a.at_ms - b.at_ms), ...fresh];
        const off_ms = told(
          all.map(({ at_ms, age }) => ({ iat_ms: wholeSecond(at_ms - age), at_ms })),
          ahead_ms,
        );
        // Not before what a token could say that is issued now, and no later than clocks differ.
        expect(off_ms).toBeGreaterThanOrEqual(-((start_ms + 5000) % 1000));
        expect(off_ms).toBeLessThanOrEqual(5000);
      }),
      runs(),
    );
  });

  test.each([
    ["two old tokens of one login", [0, 1000], [240_000, 240_000]],
    ["the same at a distance of a second", [0, 1000], [240_000, 241_000]],
    ["three of them", [0, 1000, 2000], [240_000, 241_000, 242_000]],
    ["an old one again and again", [0, 0, 0], [240_000, 240_000, 240_500]],
  ] as const)("is not told by %s", (_, issued, came) => {
    const tokens = issued.map((iat_ms, i) => ({ iat_ms, at_ms: came[i] ?? 0 }));
    expect(told(tokens, 0)).toBeGreaterThanOrEqual(0);
  });

  test("that is stored is confirmed by two tokens, not by an old one that happens to tell the same", () => {
    // Stopped for four minutes, which service time leaves out: it tells the same as a token of before.
    let uptime_ms = 1000;
    const realms = createRealmClocks({ [realm]: 0 }, () => uptime_ms);
    const at = (ours_ms: number) => ({ stamp: 0, uptime_ms, wall_ms: ours_ms, believed_ms: ours_ms });
    realms.saw(realm, 1000, life_ms);
    expect(realms.atMost_ms(at(241_000))).toEqual({ [realm]: 241_000 });
    uptime_ms += 10_000;
    realms.saw(realm, 251_000, life_ms);
    uptime_ms += 10_000;
    realms.saw(realm, 261_000, life_ms);
    expect(realms.atMost_ms(at(500_000))).toEqual({ [realm]: 261_999 });
  });
});
