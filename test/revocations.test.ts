import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { cursorAt } from "../src/model/cursor.ts";
import type { Draft, Revoked } from "../src/model/entry.ts";
import { KeycloakId, SessionId } from "../src/model/names.ts";
import { createRevocations } from "../src/authorize/revocations.ts";
import { createRevoker } from "../src/revocations/revoke.ts";
import { createClocks, plainClock } from "./support/clocks.ts";
import { pick, seeded } from "./support/random.ts";

const users = ["alice", "bob", "carol"].map((name) => v.parse(KeycloakId, name));
const sessions = ["s1", "s2", "s3", "s4"].map((name) => v.parse(SessionId, name));
const [alice = v.parse(KeycloakId, "alice")] = users;
const [s1 = v.parse(SessionId, "s1"), s2 = s1] = sessions;
const keep_ms = 1000;
const realm = "https://id.example.com/realms/main";

describe("revocations", () => {
  function setUp() {
    const clocks = createClocks();
    const clock = { now: clocks.now, uptime_ms: clocks.monotonic };
    const revocations = createRevocations({ keep_ms, clock });
    const at = () => ({ time_ms: clock.now(), uptime_ms: clock.uptime_ms() });
    const own = (stamp: number | null, session: SessionId | null = null, issuedAt_ms = 0) =>
      revocations.endsOwn({ user: alice, session, stamp, issuedAt_ms });
    const ofRealm = (issuedAt_ms: number, session: SessionId | null = null, issuer = realm) =>
      revocations.endsOfRealm({ user: alice, session, issuer, issuedAt_ms });
    return { clocks, revocations, at, own, ofRealm };
  }

  test("of a user end what was issued to them up to then, and nothing newer, and nobody else's", () => {
    const { revocations, at, own, ofRealm } = setUp();
    revocations.add({ user: alice, stamp: 7, realms: { [realm]: 500 }, before_ms: 900 }, at());
    // Wall clocks say nothing about what has a stamp.
    expect([own(7, null, 1e15), own(8, null, 0)]).toEqual([true, false]);
    expect([ofRealm(500), ofRealm(501)]).toEqual([true, false]);
    expect([ofRealm(900, null, "another"), ofRealm(901, null, "another")]).toEqual([true, false]);
    const bob = { user: v.parse(KeycloakId, "bob"), session: null, issuedAt_ms: 0 };
    expect(revocations.endsOwn({ ...bob, stamp: 1 })).toBe(false);
    expect(revocations.endsOfRealm({ ...bob, issuer: realm })).toBe(false);
  });

  test("of a session end what was issued for it up to then, and nothing newer, and no other session's", () => {
    const { revocations, at, own, ofRealm } = setUp();
    revocations.add({ session: s1, stamp: 7, realms: { [realm]: 500 }, before_ms: 0 }, at());
    expect([own(7, s1), own(8, s1), own(7, s2), own(7, null)]).toEqual([true, false, false, false]);
    expect([ofRealm(500, s1), ofRealm(501, s1), ofRealm(500, s2)]).toEqual([true, false, false]);
  });

  test("that come late take nothing back from an earlier one", () => {
    const { revocations, at, own, ofRealm } = setUp();
    revocations.add({ user: alice, stamp: 7, realms: { [realm]: 500 }, before_ms: 900 }, at());
    revocations.add({ user: alice, stamp: 3, realms: { another: 200 }, before_ms: 100 }, at());
    expect([own(7), own(8)]).toEqual([true, false]);
    expect([ofRealm(500), ofRealm(501)]).toEqual([true, false]);
    expect([ofRealm(900, null, "another"), ofRealm(901, null, "another")]).toEqual([true, false]);
  });

  test("of a version without stamps count for what that version issued", () => {
    const { revocations, at, own, ofRealm } = setUp();
    revocations.add({ user: alice, before_ms: 500 }, at());
    expect([own(null, null, 500), own(null, null, 501), own(1, null, 0)]).toEqual([true, false, false]);
    expect([ofRealm(500), ofRealm(501)]).toEqual([true, false]);
    revocations.add({ session: s1 }, { time_ms: 800, uptime_ms: 0 });
    expect([own(null, s1, 800), own(1, s1, 0)]).toEqual([true, false]);
    expect([ofRealm(800, s1), ofRealm(801, s1)]).toEqual([true, false]);
  });

  test("end every token without a stamp, however new it claims to be: it is older than all stamps", () => {
    const { revocations, at, own } = setUp();
    revocations.add({ user: alice, stamp: 1, realms: {}, before_ms: 0 }, at());
    expect(own(null, null, 1e15)).toBe(true);
  });

  test.each(["wall clock", "monotonic clock"])("are kept as long as the %s says that something may live", (which) => {
    const { clocks, revocations, at } = setUp();
    revocations.add({ user: alice, stamp: 1, realms: {}, before_ms: 0 }, at());
    if (which === "wall clock") clocks.step(-keep_ms);
    clocks.pass(keep_ms + (which === "wall clock" ? 1 : 0));
    if (which === "monotonic clock") clocks.step(keep_ms);
    revocations.tidy();
    expect(revocations.size).toBe(1);
    clocks.pass(keep_ms + 1);
    revocations.tidy();
    expect(revocations.size).toBe(0);
  });

  test("do not wait for one that came while the wall clock was ahead", () => {
    const { clocks, revocations, at } = setUp();
    clocks.step(1e9);
    revocations.add({ session: s1, stamp: 1 }, at());
    clocks.step(-1e9);
    revocations.add({ session: s2, stamp: 2 }, at());
    clocks.pass(keep_ms + 1);
    revocations.tidy();
    expect(revocations.size).toBe(1);
  });

  test("agree with a list of all that ever was, and keep none longer than a credential can live", () => {
    const { seed, random } = seeded();
    const { clocks, revocations, at } = setUp();
    const all: { revoked: Revoked; at_ms: number }[] = [];
    let stamp = 0;
    for (let step = 0; step < 5000; step++) {
      clocks.pass(Math.floor(random() * 40));
      const dice = random();
      if (dice < 0.1) {
        const cut = { stamp: ++stamp, realms: { [realm]: clocks.now() - Math.floor(random() * 300) } };
        const revoked =
          random() < 0.5 ? { session: pick(random, sessions), ...cut } : { user: pick(random, users), ...cut };
        revocations.add(revoked, at());
        all.push({ revoked, at_ms: clocks.now() });
      } else if (dice < 0.2) {
        revocations.tidy();
        const inForce = all.filter(({ at_ms }) => at_ms >= clocks.now() - keep_ms);
        const names = new Set(inForce.map(({ revoked }) => revoked.user ?? revoked.session));
        expect({ seed, step, size: revocations.size }).toEqual({ seed, step, size: names.size });
      } else {
        // Whatever is still alive: nothing is older than `keep_ms`.
        const issuedAt_ms = clocks.now() - Math.floor(random() * keep_ms);
        const who = { user: pick(random, users), session: pick(random, [...sessions, null]), issuedAt_ms };
        const about = all.filter(
          ({ revoked }) => (revoked.user ?? revoked.session) === (revoked.user === undefined ? who.session : who.user),
        );
        const expected = about.some(({ revoked }) => issuedAt_ms <= (revoked.realms?.[realm] ?? 0));
        expect({ seed, step, found: revocations.endsOfRealm({ ...who, issuer: realm }) }).toEqual({
          seed,
          step,
          found: expected,
        });
        const own = { ...who, stamp: stamp - Math.floor(random() * 3) };
        const inForce = about.filter(({ at_ms }) => at_ms >= clocks.now() - keep_ms);
        // One that nobody tidied away yet may count for longer, never for shorter.
        if (inForce.some(({ revoked }) => own.stamp <= (revoked.stamp ?? 0)))
          expect({ seed, step, found: revocations.endsOwn(own) }).toEqual({ seed, step, found: true });
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
        async append(draft) {
          if (isFull) throw new Error("the disk is full");
          taken.push(draft);
          for (const resolve of waiting.splice(0)) resolve();
          return { cursor: cursorAt("e", taken.length), outcome: { connections: 1, offline: [] } };
        },
      },
      events: { revokedByOperator() {}, revocationsUnsaved() {}, revocationLost: (revoked) => void lost.push(revoked) },
      clock: plainClock(() => 0),
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
