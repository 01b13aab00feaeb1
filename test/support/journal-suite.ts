import { afterEach, describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { Journal, MemoName } from "../../src/journal/journal.ts";
import { partsOf } from "../../src/model/cursor.ts";
import type { Entry, Notification, Outcome, Revocation, Target } from "../../src/model/entry.ts";
import { Channel, KeycloakId, SessionId } from "../../src/model/names.ts";
import { Problem } from "../../src/model/problem.ts";
import { createClock } from "./realm.ts";

export const alice = v.parse(KeycloakId, "alice");
export const bob = v.parse(KeycloakId, "bob");
export const msf = v.parse(Channel, "msf");
export const b2b = v.parse(Channel, "b2b");

/** With what every journal of the suite is opened. */
export const keep = { window_ms: 300_000, revocations_ms: 36_000_000 } as const;

/** Events of a journal that nobody watches. */
export const quiet = { waiting() {}, failed() {}, recovered() {}, committed() {} } as const;

const hour_ms = 3_600_000;
const nobody: Outcome = { connections: 0, offline: [] };

/** Where one test keeps its journal: what is opened after a close finds what was left there. */
export interface Place {
  open(now: () => number): Promise<Journal>;
}

export function notification(msg: unknown, target: Target = { channels: [msf] }, ttl_seconds = 0): Notification {
  return { kind: "notification", target, json: JSON.stringify(msg), ttl_seconds };
}

export function revocation(user: KeycloakId, before_ms: number): Revocation {
  return { kind: "revocation", user, before_ms };
}

/** Becomes the follower, and keeps all that it is called with. */
export function record(journal: Journal, outcome: Outcome = nobody): Entry[] {
  const entries: Entry[] = [];
  journal.follow((entry) => {
    entries.push(entry);
    return outcome;
  });
  return entries;
}

export function jsonOf(entry: Entry): unknown {
  return entry.kind === "notification" ? JSON.parse(entry.json) : entry.kind;
}

/** The code of the problem that a promise is rejected with. */
export async function problemOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "none";
  } catch (error) {
    return error instanceof Problem ? error.code : `not a problem: ${String(error)}`;
  }
}

/** Texts that codecs trip over, as `msg`: they have to come out as they went in, to the last code unit. */
export const oddMessages: readonly unknown[] = [
  "",
  0,
  null,
  [],
  "line\nbreak \r \t \0 nul",
  "quotes ' \" ` \\ and $1 ?1 :name @name",
  "\u2028\u2029\u{1f600}\u{1f468}\u200d\u{1f469}\u200d\u{1f467} \u202eright to left",
  "half a pair \ud83d, and the other \ude00",
  "\ufeffmark, \uffff, \u0000",
  { ключ: ["ý", { 漢字: null, "": -0.1e-7 }], toString: 1, __proto__: null },
  "€".repeat(2_000_000),
];

/**
 * What every journal promises, whatever it is made of. A journal that is gone with its process says so in `forgets`, and is
 * not asked for what needs a restart.
 */
export function journalSuite(name: string, needs: { makePlace: () => Place; forgets?: string }): void {
  const open = new Set<Journal>();
  let clock = createClock();
  let place: Place | undefined;

  async function start(): Promise<Journal> {
    place ??= needs.makePlace();
    const journal = await place.open(clock.now);
    open.add(journal);
    return journal;
  }

  async function restart(journal: Journal): Promise<Journal> {
    await journal.close();
    return start();
  }

  afterEach(async () => {
    for (const journal of open) await journal.close();
    open.clear();
    clock = createClock();
    place = undefined;
  });

  describe(`a journal, ${name}`, () => {
    test("an empty one has an epoch, nothing else, and is well", async () => {
      const { history, health } = await start();
      expect(history.epochs).toEqual([{ epoch: expect.stringMatching(/^[a-z0-9]{5,32}$/), first: 1 }]);
      expect(history).toMatchObject({ entries: [], trimmedTo: 0, held: [], revocations: [] });
      expect(history.tokenSecret.length).toBeGreaterThanOrEqual(32);
      expect(health().status).toBe("ok");
    });

    test("no two journals have an epoch or a token secret in common", async () => {
      const { history: one } = await start();
      place = undefined;
      const { history: other } = await start();
      expect(one.epochs[0]?.epoch).not.toBe(other.epochs[0]?.epoch);
      expect(one.tokenSecret).not.toBe(other.tokenSecret);
    });

    test("gives each entry the next sequence, a cursor of the current epoch, and the time", async () => {
      const journal = await start();
      const entries = record(journal);
      const epoch = journal.history.epochs.at(-1)?.epoch;
      const begin_ms = clock.now();
      for (let i = 1; i <= 5; i++) {
        clock.move(10);
        const { cursor } = await journal.append(i === 3 ? revocation(alice, 7) : notification(i));
        expect<object>(partsOf(cursor)).toEqual({ epoch, sequence: i });
      }
      expect(entries.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
      expect(entries.map(({ time_ms }) => time_ms - begin_ms)).toEqual([10, 20, 30, 40, 50]);
      expect(entries.map(jsonOf)).toEqual([1, 2, "revocation", 4, 5]);
    });

    test("calls the follower once for each entry, before its append resolves, with the cursor that append gives", async () => {
      const journal = await start();
      const entries = record(journal);
      for (let i = 1; i <= 3; i++) {
        const { cursor } = await journal.append(notification(i));
        expect(entries).toHaveLength(i);
        expect(entries.at(-1)?.cursor).toBe(cursor);
      }
    });

    test("hands the follower's outcome through to append", async () => {
      const journal = await start();
      const outcome = { connections: 3, offline: [bob] };
      record(journal, outcome);
      expect((await journal.append(notification("x", { users: [alice, bob] }))).outcome).toEqual(outcome);
      expect((await journal.append(revocation(alice, 1))).outcome).toEqual(outcome);
    });

    test("what is appended in one tick keeps its order, and is answered in it", async () => {
      const journal = await start();
      const entries = record(journal);
      const answered: number[] = [];
      const numbers = Array.from({ length: 200 }, (_, i) => i + 1);
      const appended = numbers.map(async (i) => {
        const memo = i % 3 === 0 ? { scope: "backend", key: `key-${i}`, fingerprint: "f" } : undefined;
        const draft = i % 7 === 0 ? revocation(bob, i) : notification(i, { users: [alice] }, i % 2);
        const { cursor } = await journal.append(draft, memo);
        answered.push(partsOf(cursor).sequence);
      });
      await Promise.all(appended);
      expect(entries.map(({ sequence }) => sequence)).toEqual(numbers);
      expect(entries.map(jsonOf)).toEqual(numbers.map((i) => (i % 7 === 0 ? "revocation" : i)));
      expect(answered).toEqual(numbers);
    });

    test("what the follower appends itself comes after what was there", async () => {
      const journal = await start();
      const seen: unknown[] = [];
      const inner: Promise<unknown>[] = [];
      journal.follow((entry) => {
        seen.push(jsonOf(entry));
        if (jsonOf(entry) === 1) inner.push(journal.append(notification("from within")));
        return nobody;
      });
      await Promise.all([1, 2].map((i) => journal.append(notification(i))));
      await Promise.all(inner);
      expect(seen).toHaveLength(3);
      expect(seen.filter((msg) => msg !== "from within")).toEqual([1, 2]);
      expect(seen.indexOf("from within")).toBeGreaterThan(seen.indexOf(1));
    });

    test("a clock that goes back makes no entry older than the one before it", async () => {
      const journal = await start();
      const entries = record(journal);
      const begin_ms = clock.now();
      for (const by_ms of [5000, -4000, -4000, 10_000]) {
        clock.move(by_ms);
        await journal.append(notification(by_ms));
      }
      expect(entries.map(({ time_ms }) => time_ms - begin_ms)).toEqual([5000, 5000, 5000, 7000]);
    });

    test("a follower that throws is told to its append alone: the next is handed over as ever", async () => {
      const journal = await start();
      const seen: unknown[] = [];
      journal.follow((entry) => {
        seen.push(jsonOf(entry));
        if (jsonOf(entry) === "bad") throw new RangeError("the follower's own");
        return nobody;
      });
      const settled = await Promise.allSettled(["a", "bad", "b"].map((msg) => journal.append(notification(msg))));
      expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      expect(seen).toEqual(["a", "bad", "b"]);
      expect(partsOf((await journal.append(notification("c"))).cursor).sequence).toBe(4);
    });

    test("hands over what it was given, to the last character", async () => {
      const journal = await start();
      const entries = record(journal);
      const users = [v.parse(KeycloakId, "f:ldap:Ольга_🙂"), alice];
      const targets: Target[] = [{ users }, { users, channels: [msf, b2b] }, { channels: [b2b] }];
      const drafts = oddMessages.map((msg, i) => notification(msg, targets[i % 3], 0));
      await Promise.all(drafts.map((draft) => journal.append(draft)));
      expect(entries.length).toBe(drafts.length);
      for (const [i, draft] of drafts.entries()) expect(entries[i]).toMatchObject(draft);
    });

    describe("remembers memos", () => {
      const memo = { scope: "backend", key: "order-1", fingerprint: "abc" };
      const others: MemoName[] = [
        { scope: "other", key: "order-1" },
        { scope: "backend", key: "order-2" },
        { scope: "order-1", key: "backend" },
        { scope: "backend", key: "ORDER-1" },
        { scope: "", key: "" },
      ];

      test("from the append on without a receipt, and with it as soon as it is complete", async () => {
        const journal = await start();
        record(journal);
        expect(journal.recall(memo)).toBeUndefined();
        const { cursor } = await journal.append(notification(1), memo);
        expect(journal.recall(memo)).toMatchObject({ fingerprint: "abc", cursor, receipt: undefined });
        journal.complete(memo, '{"id":"ü 🙂"}');
        expect(journal.recall(memo)).toMatchObject({ fingerprint: "abc", cursor, receipt: '{"id":"ü 🙂"}' });
      });

      test("by scope and key, and under no other name", async () => {
        const journal = await start();
        record(journal);
        await journal.append(notification(1), memo);
        for (const other of others) expect(journal.recall(other)).toBeUndefined();
        for (const [i, other] of others.entries()) {
          const { cursor } = await journal.append(notification(2), { ...other, fingerprint: `f${i}` });
          journal.complete(other, `r${i}`);
          expect(journal.recall(other)).toMatchObject({ fingerprint: `f${i}`, receipt: `r${i}`, cursor });
        }
        expect(journal.recall(memo)).toMatchObject({ fingerprint: "abc", receipt: undefined });
      });

      test("for 24 hours, whatever is trimmed, and not longer", async () => {
        const journal = await start();
        record(journal);
        await journal.append(notification(1), memo);
        journal.complete(memo, "first");
        clock.move(24 * hour_ms);
        journal.trim(1);
        expect(journal.recall(memo)?.receipt).toBe("first");
        clock.move(1);
        expect(journal.recall(memo)).toBeUndefined();
        journal.trim(1);
        expect(journal.recall(memo)).toBeUndefined();
      });

      test("a name that is used again after its 24 hours stands for the new one, for 24 hours", async () => {
        const journal = await start();
        record(journal);
        await journal.append(notification(1), memo);
        journal.complete(memo, "first");
        clock.move(24 * hour_ms + 1);
        const { cursor } = await journal.append(notification(2), { ...memo, fingerprint: "new" });
        expect(journal.recall(memo)).toMatchObject({ fingerprint: "new", cursor, receipt: undefined });
        clock.move(24 * hour_ms);
        journal.trim(2);
        expect(journal.recall(memo)).toMatchObject({ fingerprint: "new", cursor, receipt: undefined });
      });

      test("to complete what is not there does nothing", async () => {
        const journal = await start();
        record(journal);
        journal.complete(memo, "nothing");
        await journal.append(notification(1));
        expect(journal.recall(memo)).toBeUndefined();
      });
    });

    test("to release or trim what is not there does nothing", async () => {
      const journal = await start();
      record(journal);
      journal.release(alice, [1, 99]);
      journal.release(bob, []);
      journal.trim(0);
      expect(partsOf((await journal.append(notification(1))).cursor).sequence).toBe(1);
      journal.trim(1);
      journal.trim(0);
      expect(partsOf((await journal.append(notification(2))).cursor).sequence).toBe(2);
    });

    test("a close keeps what was appended before it, and refuses what comes after it as `unavailable`", async () => {
      const journal = await start();
      const entries = record(journal);
      const before = journal.append(notification("before"));
      await journal.close();
      expect(partsOf((await before).cursor).sequence).toBe(1);
      expect(await problemOf(journal.append(notification("after")))).toBe("unavailable");
      expect(await problemOf(journal.append(notification("after"), { scope: "s", key: "k", fingerprint: "f" }))).toBe(
        "unavailable",
      );
      expect(entries.map(jsonOf)).toEqual(["before"]);
    });

    test("after a close nothing that is still on its way fails as anything but `unavailable`", async () => {
      const journal = await start();
      record(journal);
      await journal.append(notification(1), { scope: "s", key: "k", fingerprint: "f" });
      journal.complete({ scope: "s", key: "k" }, "r");
      await journal.close();
      await journal.close();
      journal.complete({ scope: "s", key: "k" }, "r");
      journal.release(alice, [1]);
      journal.trim(1);
      const recalled = Promise.try(() => journal.recall({ scope: "s", key: "k" })?.fingerprint ?? "f");
      expect(["none", "unavailable"]).toContain(await problemOf(recalled));
    });
  });

  const { forgets } = needs;
  if (forgets !== undefined) process.stderr.write(`skipped for ${name}, what outlives a restart: ${forgets}\n`);
  describe.skipIf(forgets !== undefined)(`a journal, ${name}, after a restart${forgets ? ` (${forgets})` : ""}`, () => {
    const begin = async () => {
      const journal = await start();
      record(journal);
      return journal;
    };

    test("has a new epoch that begins with the next sequence, and still knows the old ones", async () => {
      let journal = await begin();
      const epochs = [...journal.history.epochs];
      // Two lives with two entries each, one in which nothing came, one more.
      const lives = [
        { entries: 2, first: 3 },
        { entries: 2, first: 5 },
        { entries: 0, first: 5 },
        { entries: 1, first: 6 },
      ];
      for (const { entries, first } of lives) {
        for (let i = 0; i < entries; i++) await journal.append(notification(i));
        journal = await restart(journal);
        record(journal);
        const epoch = journal.history.epochs.at(-1)?.epoch ?? "";
        expect(epochs.map((old) => old.epoch)).not.toContain(epoch);
        epochs.push({ epoch, first });
        expect(journal.history.epochs).toEqual(epochs);
      }
      const { cursor } = await journal.append(notification("newest"));
      expect<object>(partsOf(cursor)).toEqual({ epoch: epochs.at(-1)?.epoch, sequence: 6 });
    });

    test("has the window's entries as they were, with the cursors that were given out", async () => {
      let journal = await start();
      const entries = record(journal);
      for (const [i, msg] of oddMessages.entries()) {
        await journal.append(notification(msg, i % 2 === 0 ? { channels: [msf, b2b] } : { users: [alice] }));
        clock.move(1000);
      }
      await journal.append(revocation(bob, 17));
      await journal.append(notification("held", { users: [alice, bob], channels: [b2b] }, 60));
      journal = await restart(journal);
      expect(journal.history.entries).toEqual(entries);
      expect(journal.history.trimmedTo).toBe(0);
      journal = await restart(journal);
      expect(journal.history.entries).toEqual(entries);
    });

    test("leaves out what became too old in the meantime, and says so", async () => {
      let journal = await begin();
      await journal.append(notification("old"));
      await journal.append(notification("also old"));
      clock.move(keep.window_ms - 1000);
      await journal.append(notification("young"));
      clock.move(1001);
      journal = await restart(journal);
      expect(journal.history.entries.map(jsonOf)).toEqual(["young"]);
      expect(journal.history.trimmedTo).toBe(2);
      // It does not come back, whatever the clock says.
      clock.move(-keep.window_ms);
      journal = await restart(journal);
      expect(journal.history.entries.map(jsonOf)).toEqual(["young"]);
      expect(journal.history.trimmedTo).toBe(2);
    });

    test("has no entry that was trimmed, and does not say that it has", async () => {
      let journal = await begin();
      for (let i = 1; i <= 5; i++) await journal.append(notification(i));
      journal.trim(3);
      journal = await restart(journal);
      expect(journal.history.entries.map(jsonOf)).toEqual([4, 5]);
      expect(journal.history.trimmedTo).toBe(3);
    });

    test("goes on with its sequence after everything was trimmed", async () => {
      let journal = await begin();
      for (let i = 1; i <= 5; i++) await journal.append(notification(i));
      await journal.append(revocation(alice, 1));
      clock.move(keep.revocations_ms + 1);
      journal.trim(6);
      journal = await restart(journal);
      record(journal);
      expect(journal.history).toMatchObject({ entries: [], trimmedTo: 6 });
      expect(journal.history.epochs.at(-1)?.first).toBe(7);
      expect(partsOf((await journal.append(notification("next"))).cursor).sequence).toBe(7);
    });

    test("holds what was held, for those who have not got it, in order and with its cursor", async () => {
      let journal = await start();
      const entries = record(journal);
      for (const msg of ["one", "two"]) await journal.append(notification(msg, { users: [alice, bob] }, 3600));
      await journal.append(notification("not held", { users: [alice] }));
      await journal.append(notification("alice's", { users: [alice], channels: [msf] }, 3600));
      journal.release(alice, [1]);
      const [one, two, , four] = entries;
      const held = [
        { entry: one, users: [bob] },
        { entry: two, users: [alice, bob] },
        { entry: four, users: [alice] },
      ];
      journal = await restart(journal);
      expect<object>(journal.history.held).toEqual(held);
      // Out of the window, but not out of its ttl; and however often it is restarted meanwhile.
      clock.move(keep.window_ms + 1);
      for (let i = 0; i < 3; i++) {
        record(journal);
        journal.trim(4);
        journal = await restart(journal);
        expect<object>(journal.history.held).toEqual(held);
        record(journal);
        await journal.append(notification("passing"));
        clock.move(keep.window_ms + 1);
      }
      record(journal);
      journal.release(bob, [1, 2]);
      journal.release(alice, [4]);
      journal = await restart(journal);
      expect<object>(journal.history.held).toEqual([{ entry: two, users: [alice] }]);
    });

    test("holds nothing longer than its ttl", async () => {
      let journal = await begin();
      await journal.append(notification("short", { users: [alice] }, 10));
      await journal.append(notification("long", { users: [alice] }, 20));
      clock.move(9_999);
      journal = await restart(journal);
      expect(journal.history.held.map(({ entry }) => jsonOf(entry))).toEqual(["short", "long"]);
      clock.move(1);
      journal = await restart(journal);
      expect(journal.history.held.map(({ entry }) => jsonOf(entry))).toEqual(["long"]);
    });

    test("remembers memos with and without their receipts, for 24 hours from the append", async () => {
      let journal = await begin();
      const [done, open_, replaced] = ["done", "open", "replaced"].map((key) => ({
        scope: "s",
        key,
        fingerprint: key,
      }));
      if (done === undefined || open_ === undefined || replaced === undefined) throw new Error("three memos");
      const { cursor } = await journal.append(notification(1), done);
      await journal.append(notification(2), open_);
      await journal.append(notification(3), replaced);
      journal.complete(done, '{"a":"ü🙂"}');
      journal.complete(replaced, "1");
      journal.complete(replaced, "2");
      clock.move(keep.window_ms + 1);
      journal.trim(3);
      journal = await restart(journal);
      expect(journal.recall(done)).toEqual({ fingerprint: "done", cursor, receipt: '{"a":"ü🙂"}' });
      expect(journal.recall(open_)).toMatchObject({ fingerprint: "open", receipt: undefined });
      expect(journal.recall(replaced)).toMatchObject({ receipt: "2" });
      clock.move(24 * hour_ms - keep.window_ms);
      journal = await restart(journal);
      expect(journal.recall(done)).toBeUndefined();
    });

    test("knows who was revoked, as long as a token can live, though the window is past", async () => {
      let journal = await begin();
      await journal.append(revocation(alice, 111));
      clock.move(1000);
      await journal.append(revocation(bob, 222));
      const session = v.parse(SessionId, 'SjcsaEAdwWJgJLyVaH0S8qqc~"');
      await journal.append({ kind: "revocation", session });
      const second_ms = clock.now();
      clock.move(keep.revocations_ms - 1000);
      journal.trim(3);
      journal = await restart(journal);
      expect(journal.history.revocations).toMatchObject([
        { user: alice, before_ms: 111, time_ms: second_ms - 1000 },
        { user: bob, before_ms: 222, time_ms: second_ms },
        { session, time_ms: second_ms },
      ]);
      clock.move(1);
      journal.trim(3);
      journal = await restart(journal);
      expect(journal.history.revocations).toMatchObject([{ user: bob, before_ms: 222 }, { session }]);
    });

    test("has the token secret that it had", async () => {
      const journal = await start();
      const { tokenSecret } = journal.history;
      expect((await restart(journal)).history.tokenSecret).toBe(tokenSecret);
    });
  });
}
