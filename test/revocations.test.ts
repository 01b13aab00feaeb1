import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { cursorAt } from "../src/model/cursor.ts";
import type { Draft, Revoked } from "../src/model/entry.ts";
import { KeycloakId, SessionId } from "../src/model/names.ts";
import { createRevocations } from "../src/authorize/revocations.ts";
import { createRevoker } from "../src/revocations/revoke.ts";
import { pick, seeded } from "./support/random.ts";
import { createClock } from "./support/realm.ts";

const users = ["alice", "bob", "carol"].map((name) => v.parse(KeycloakId, name));
const sessions = ["s1", "s2", "s3", "s4"].map((name) => v.parse(SessionId, name));
const [alice = v.parse(KeycloakId, "alice")] = users;
const [s1 = v.parse(SessionId, "s1"), s2 = s1] = sessions;
const keep_ms = 1000;

describe("revocations", () => {
  test("of a user kill what was issued to him up to then, and nothing newer, and nobody else's", () => {
    const { now } = createClock();
    const revocations = createRevocations({ keep_ms, now });
    revocations.add({ user: alice, before_ms: 500 }, now());
    const issued = (issuedAt_ms: number, user = alice) => ({ user, session: null, issuedAt_ms });
    expect(revocations.isRevoked(issued(500))).toBe(true);
    expect(revocations.isRevoked(issued(501))).toBe(false);
    expect(revocations.isRevoked(issued(400, v.parse(KeycloakId, "bob")))).toBe(false);
    // An older one that comes late takes nothing back.
    revocations.add({ user: alice, before_ms: 100 }, now());
    expect(revocations.isRevoked(issued(500))).toBe(true);
    expect(revocations.deadUpTo_ms(alice)).toBe(500);
  });

  test("of a session kill all that came of it, whenever", () => {
    const { now } = createClock();
    const revocations = createRevocations({ keep_ms, now });
    revocations.add({ session: s1 }, now());
    const issuedAt_ms = now() + 1_000_000;
    expect(revocations.isRevoked({ user: alice, session: s1, issuedAt_ms })).toBe(true);
    expect(revocations.isRevoked({ user: alice, session: s2, issuedAt_ms })).toBe(false);
    expect(revocations.isRevoked({ user: alice, session: null, issuedAt_ms })).toBe(false);
  });

  test("agree with a list of all that ever was, and keep none longer than a credential can live", () => {
    const { seed, random } = seeded();
    const clock = createClock();
    const revocations = createRevocations({ keep_ms, now: clock.now });
    const all: { revoked: Revoked; at_ms: number }[] = [];
    for (let step = 0; step < 5000; step++) {
      clock.move(Math.floor(random() * 40));
      const dice = random();
      if (dice < 0.1) {
        const revoked =
          random() < 0.5
            ? { session: pick(random, sessions) }
            : { user: pick(random, users), before_ms: clock.now() - Math.floor(random() * 300) };
        revocations.add(revoked, clock.now());
        all.push({ revoked, at_ms: clock.now() });
      } else if (dice < 0.2) {
        revocations.tidy();
        const inForce = all.filter(({ at_ms }) => at_ms >= clock.now() - keep_ms);
        const names = new Set(inForce.map(({ revoked }) => revoked.user ?? revoked.session));
        expect({ seed, step, size: revocations.size }).toEqual({ seed, step, size: names.size });
      } else {
        // Whatever is still alive: nothing is older than `keep_ms`.
        const issuedAt_ms = clock.now() - Math.floor(random() * keep_ms);
        const credential = { user: pick(random, users), session: pick(random, [...sessions, null]), issuedAt_ms };
        const expected = all.some(({ revoked, at_ms }) =>
          revoked.user === undefined
            ? revoked.session === credential.session && at_ms >= clock.now() - keep_ms
            : revoked.user === credential.user && issuedAt_ms <= revoked.before_ms,
        );
        const found = revocations.isRevoked(credential);
        // One of a session that nobody tidied away yet may kill for longer, never for shorter.
        if (expected || credential.session === null)
          expect({ seed, step, found }).toEqual({ seed, step, found: expected });
      }
    }
  });
});

describe("to revoke", () => {
  /** A journal that takes nothing until it is told to. */
  function setUp() {
    const taken: Draft[] = [];
    const lost: Revoked[] = [];
    const waiting: (() => void)[] = [];
    let isFull = true;
    const applied: Revoked[] = [];
    const revoker = createRevoker({
      delivery: {
        revoke(revoked) {
          applied.push(revoked);
          return 2;
        },
      },
      journal: {
        async append(drafts) {
          if (isFull) throw new Error("the disk is full");
          taken.push(...drafts);
          for (const resolve of waiting.splice(0)) resolve();
          const place = { cursor: cursorAt("e", taken.length), outcome: { connections: 1, offline: [] } };
          return { kind: "appended", placed: [place] };
        },
      },
      events: { revokedByOperator() {}, revocationsUnsaved() {}, revocationLost: (revoked) => void lost.push(revoked) },
      now: () => 0,
      retry_ms: 1,
    });
    const recover = () => void (isFull = false);
    const nextTaken = () => new Promise<void>((resolve) => void waiting.push(resolve));
    return { revoker, applied, taken, lost, recover, nextTaken };
  }

  test("is in force before the journal has it, and counts the connections of all nodes", async () => {
    const { revoker, applied, recover } = setUp();
    recover();
    const revoking = revoker.revoke({ session: s1 });
    expect(applied).toEqual([{ session: s1 }]);
    expect(await revoking).toEqual({ connections: 3, saved: true });
    expect(revoker.unsaved).toBe(0);
  });

  test("goes on trying while the journal takes nothing, in order, until it has all", async () => {
    const { revoker, taken, recover, nextTaken } = setUp();
    const all: Revoked[] = [{ session: s1 }, { user: alice, before_ms: 7 }, { session: s2 }];
    for (const revoked of all) expect(await revoker.revoke(revoked)).toEqual({ connections: 2, saved: false });
    expect(revoker.unsaved).toBe(3);
    recover();
    while (taken.length < 3) await nextTaken();
    expect(taken).toMatchObject(all);
    expect(new Set(taken.map(({ kind }) => kind))).toEqual(new Set(["revocation"]));
    expect(await revoker.stop()).toBe(true);
  });

  test("tries once more at the end, and tells what was not taken", async () => {
    const { revoker, recover, taken, lost } = setUp();
    await revoker.revoke({ session: s1 });
    expect(await revoker.stop()).toBe(false);
    expect(lost).toMatchObject([{ session: s1 }]);
    recover();
    expect(await revoker.stop()).toBe(true);
    expect(taken).toHaveLength(1);
  });
});
