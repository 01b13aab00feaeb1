import { afterEach, describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { Follower, Journal, Memo, Placed } from "../../src/journal/journal.ts";
import { partsOf } from "../../src/model/cursor.ts";
import type { Draft, Entry, Notification, Outcome, Revocation, Target } from "../../src/model/entry.ts";
import { Channel, KeycloakId, SessionId } from "../../src/model/names.ts";
import { Problem } from "../../src/model/problem.ts";
import { createClock } from "./realm.ts";

export const alice = v.parse(KeycloakId, "alice");
export const bob = v.parse(KeycloakId, "bob");
export const msf = v.parse(Channel, "msf");
export const b2b = v.parse(Channel, "b2b");

/** With what every journal of the suite is opened. */
export const keep = {
  window_ms: 300_000,
  revocations_ms: 36_000_000,
  idempotency_hours: 24,
  max_idempotency_bytes: 2 ** 28,
} as const;

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

/** A follower that has room for everything. */
export function followerOf(follow: Follower["follow"], count: Follower["count"] = () => nobody): Follower {
  return { reserve: () => () => {}, count, follow };
}

/** Becomes the follower, and keeps all that it is called with. */
export function record(journal: Journal, outcome: Outcome = nobody): Entry[] {
  const entries: Entry[] = [];
  const follow = (entry: Entry) => {
    entries.push(entry);
    return outcome;
  };
  journal.follow(followerOf(follow, () => outcome));
  return entries;
}

/** Appends one draft. */
export async function append(
  journal: Pick<Journal, "append">,
  draft: Draft,
  memo?: Memo,
): Promise<Placed & { kind: string }> {
  const { kind, placed } = await journal.append([draft], memo);
  const [place, ...others] = placed;
  if (place === undefined || others.length > 0) throw new Error(`one draft has one place, not ${placed.length}`);
  return { ...place, kind };
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
        const { cursor } = await append(journal, i === 3 ? revocation(alice, 7) : notification(i));
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
        const { cursor } = await append(journal, notification(i));
        expect(entries).toHaveLength(i);
        expect(entries.at(-1)?.cursor).toBe(cursor);
      }
    });

    test("hands the follower's outcome through to append", async () => {
      const journal = await start();
      const outcome = { connections: 3, offline: [bob] };
      record(journal, outcome);
      expect((await append(journal, notification("x", { users: [alice, bob] }))).outcome).toEqual(outcome);
      expect((await append(journal, revocation(alice, 1))).outcome).toEqual(outcome);
    });

    test("what is appended in one tick keeps its order, and is answered in it", async () => {
      const journal = await start();
      const entries = record(journal);
      const answered: number[] = [];
      const numbers = Array.from({ length: 200 }, (_, i) => i + 1);
      const appended = numbers.map(async (i) => {
        const memo = i % 3 === 0 ? { scope: "backend", key: `key-${i}`, fingerprint: "f" } : undefined;
        const draft = i % 7 === 0 ? revocation(bob, i) : notification(i, { users: [alice] }, i % 2);
        const { cursor } = await append(journal, draft, memo);
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
      const follow = (entry: Entry) => {
        seen.push(jsonOf(entry));
        if (jsonOf(entry) === 1) inner.push(append(journal, notification("from within")));
        return nobody;
      };
      journal.follow(followerOf(follow));
      await Promise.all([1, 2].map((i) => append(journal, notification(i))));
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
        await append(journal, notification(by_ms));
      }
      expect(entries.map(({ time_ms }) => time_ms - begin_ms)).toEqual([5000, 5000, 5000, 7000]);
    });

    test("a follower that throws is told to its append alone: the next is handed over as ever", async () => {
      const journal = await start();
      const seen: unknown[] = [];
      const follow = (entry: Entry) => {
        seen.push(jsonOf(entry));
        if (jsonOf(entry) === "bad") throw new RangeError("the follower's own");
        return nobody;
      };
      journal.follow(followerOf(follow));
      const settled = await Promise.allSettled(["a", "bad", "b"].map((msg) => append(journal, notification(msg))));
      expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      expect(seen).toEqual(["a", "bad", "b"]);
      expect(partsOf((await append(journal, notification("c"))).cursor).sequence).toBe(4);
    });

    test("hands over what it was given, to the last character", async () => {
      const journal = await start();
      const entries = record(journal);
      const users = [v.parse(KeycloakId, "f:ldap:Ольга_🙂"), alice];
      const targets: Target[] = [{ users }, { users, channels: [msf, b2b] }, { channels: [b2b] }];
      const drafts = oddMessages.map((msg, i) => notification(msg, targets[i % 3], 0));
      await Promise.all(drafts.map((draft) => append(journal, draft)));
      expect(entries.length).toBe(drafts.length);
      for (const [i, draft] of drafts.entries()) expect(entries[i]).toMatchObject(draft);
    });

    describe("remembers memos", () => {
      const memo = { scope: "backend", key: "order-1", fingerprint: "abc" };
      const others: Memo[] = [
        { scope: "other", key: "order-1", fingerprint: "f0" },
        { scope: "backend", key: "order-2", fingerprint: "f1" },
        { scope: "order-1", key: "backend", fingerprint: "f2" },
        { scope: "backend", key: "ORDER-1", fingerprint: "f3" },
        { scope: "", key: "", fingerprint: "f4" },
      ];
      const toBoth = notification(1, { users: [alice, bob] });

      /** What the journal makes of a draft that it has never seen under this memo. */
      const isNew = async (journal: Journal, as: Memo) => (await append(journal, toBoth, as)).kind === "appended";

      test("a repeat gets the first answer, and nothing is handed over", async () => {
        const journal = await start();
        const entries = record(journal, { connections: 2, offline: [bob] });
        const first = await append(journal, toBoth, memo);
        expect(first).toMatchObject({ kind: "appended", outcome: { connections: 2, offline: [bob] } });
        record(journal, { connections: 9, offline: [] });
        for (let i = 0; i < 3; i++) expect(await append(journal, toBoth, memo)).toEqual({ ...first, kind: "repeated" });
        expect(entries).toHaveLength(1);
        expect(partsOf((await append(journal, toBoth)).cursor).sequence).toBe(2);
      });

      test("another fingerprint is `idempotency_mismatch`, and takes nothing from the first", async () => {
        const journal = await start();
        const entries = record(journal);
        const { cursor } = await append(journal, toBoth, memo);
        const settled = await Promise.all([
          problemOf(append(journal, toBoth, { ...memo, fingerprint: "abd" })),
          append(journal, toBoth, memo),
          problemOf(append(journal, toBoth, { ...memo, fingerprint: "" })),
        ]);
        expect(settled).toMatchObject(["idempotency_mismatch", { kind: "repeated", cursor }, "idempotency_mismatch"]);
        expect(entries).toHaveLength(1);
      });

      test("fifty at once are one entry and one answer", async () => {
        const journal = await start();
        const entries = record(journal, { connections: 1, offline: [alice] });
        const answers = await Promise.all(Array.from({ length: 50 }, () => append(journal, toBoth, memo)));
        expect(answers.map(({ kind }) => kind)).toEqual(["appended", ...Array.from({ length: 49 }, () => "repeated")]);
        expect(new Set(answers.map(({ cursor, outcome }) => JSON.stringify([cursor, outcome]))).size).toBe(1);
        expect(entries).toHaveLength(1);
      });

      test("of fifty at once with two fingerprints one is taken, and the other is refused", async () => {
        const journal = await start();
        const entries = record(journal);
        const answers = await Promise.all(
          Array.from({ length: 50 }, (_, i) =>
            problemOf(append(journal, toBoth, { ...memo, fingerprint: String(i % 2) })),
          ),
        );
        const expected = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? "none" : "idempotency_mismatch"));
        expect(answers).toEqual(expected);
        expect(entries).toHaveLength(1);
      });

      test("by scope and key, and under no other name", async () => {
        const journal = await start();
        record(journal);
        const { cursor } = await append(journal, toBoth, memo);
        for (const other of others) expect(await isNew(journal, other)).toBe(true);
        for (const other of others) expect(await isNew(journal, other)).toBe(false);
        expect((await append(journal, toBoth, memo)).cursor).toBe(cursor);
      });

      test("who was offline, whoever of however many it was, and how many were not", async () => {
        const journal = await start();
        const users = Array.from({ length: 1000 }, (_, i) => v.parse(KeycloakId, `user-${i}`));
        const first = users.slice(0, 9);
        const cases: [KeycloakId[], KeycloakId[]][] = [
          [users, []],
          [users, users],
          [users, users.filter((_, i) => i % 3 === 0)],
          [users, users.slice(-1)],
          [first, first.slice(0, 8)],
          [first, first.slice(8)],
          [[alice], [alice]],
          [[alice, bob], [bob]],
          // No follower says so; what it says is remembered all the same.
          [
            [alice, bob],
            [bob, alice],
          ],
          [[alice], [bob]],
        ];
        for (const [i, [named, offline]] of cases.entries()) {
          const outcome = { connections: i, offline };
          record(journal, outcome);
          const draft = notification(i, { users: named });
          const one = { ...memo, key: `case ${i}` };
          const answer = await append(journal, draft, one);
          expect(answer).toMatchObject({ kind: "appended", outcome });
          expect(await append(journal, draft, one)).toEqual({ ...answer, kind: "repeated" });
        }
        const toAll = await append(journal, notification("all"), { ...memo, key: "all" });
        expect(await append(journal, notification("all"), { ...memo, key: "all" })).toEqual({
          ...toAll,
          kind: "repeated",
        });
        const dead = await append(journal, revocation(alice, 1), { ...memo, key: "revoked" });
        expect(await append(journal, revocation(alice, 1), { ...memo, key: "revoked" })).toEqual({
          ...dead,
          kind: "repeated",
        });
      });

      test("takes little for a long list of users who are offline", async () => {
        const journal = await start();
        const users = Array.from({ length: 1000 }, () => v.parse(KeycloakId, crypto.randomUUID()));
        record(journal, { connections: 0, offline: users.filter((_, i) => i !== 500) });
        await append(journal, notification(1, { users }), memo);
        expect(journal.memos()).toMatchObject({ count: 1, oldest_ms: clock.now() });
        expect(journal.memos().bytes).toBeLessThan(500);
      });

      test("for 24 hours, whatever is trimmed, and not longer", async () => {
        const journal = await start();
        record(journal);
        const first = await append(journal, toBoth, memo);
        clock.move(24 * hour_ms);
        journal.trim(1);
        expect(await append(journal, toBoth, memo)).toEqual({ ...first, kind: "repeated" });
        clock.move(1);
        journal.trim(1);
        expect(journal.memos()).toEqual({ count: 0, bytes: 0, oldest_ms: undefined });
        expect(await isNew(journal, memo)).toBe(true);
      });

      test("a name that is used again after its 24 hours stands for the new one, for 24 hours", async () => {
        const journal = await start();
        record(journal);
        await append(journal, toBoth, memo);
        clock.move(24 * hour_ms + 1);
        const again = { ...memo, fingerprint: "new" };
        const { cursor } = await append(journal, notification(2), again);
        expect(partsOf(cursor).sequence).toBe(2);
        clock.move(24 * hour_ms);
        journal.trim(2);
        expect(await append(journal, notification(2), again)).toMatchObject({ kind: "repeated", cursor });
      });

      test("counts them and their bytes", async () => {
        const journal = await start();
        record(journal);
        await append(journal, toBoth, memo);
        const { bytes, oldest_ms } = journal.memos();
        clock.move(1000);
        for (const other of others) await append(journal, toBoth, other);
        expect(journal.memos()).toMatchObject({ count: 1 + others.length, oldest_ms });
        expect(journal.memos().bytes).toBeGreaterThan(bytes * 5);
        expect(journal.memos().bytes).toBeLessThan(bytes * 7);
      });
    });

    describe("takes several drafts", () => {
      const memo = { scope: "backend", key: "batch", fingerprint: "abc" };
      const drafts = [
        notification("a", { users: [alice, bob] }, 60),
        notification("b"),
        revocation(bob, 1),
        notification("c", { users: [bob] }),
      ];
      const follower = (entries: Entry[]) => {
        const outcomeOf = (draft: Draft): Outcome => ({
          connections: draft.kind === "revocation" ? 7 : draft.json.charCodeAt(1),
          offline: draft.kind === "notification" ? (draft.target.users?.slice(-1) ?? []) : [],
        });
        const follow = (entry: Entry) => (entries.push(entry), outcomeOf(entry));
        return followerOf(follow, outcomeOf);
      };

      test("in order and together, each with an outcome, once", async () => {
        const journal = await start();
        const entries: Entry[] = [];
        journal.follow(follower(entries));
        const [first, one, again] = await Promise.all([
          journal.append(drafts, memo),
          append(journal, notification("d")),
          journal.append(drafts, memo),
        ]);
        expect(entries.map(jsonOf)).toEqual(["a", "b", "revocation", "c", "d"]);
        expect(first.placed.map(({ cursor }) => partsOf(cursor).sequence)).toEqual([1, 2, 3, 4]);
        expect(first.placed.map(({ outcome }) => outcome)).toEqual([
          { connections: 97, offline: [bob] },
          { connections: 98, offline: [] },
          { connections: 7, offline: [] },
          { connections: 99, offline: [bob] },
        ]);
        expect(partsOf(one.cursor).sequence).toBe(5);
        expect(again).toEqual({ kind: "repeated", placed: first.placed });
      });

      test("or none of them, where there is no room for one", async () => {
        const journal = await start();
        const entries: Entry[] = [];
        let room = 3;
        const reserve = () => {
          if (room === 0) throw new Problem("held_full");
          room--;
          return () => void room++;
        };
        journal.follow({ ...follower(entries), reserve });
        expect(await problemOf(journal.append(drafts, memo))).toBe("held_full");
        expect(room).toBe(3);
        room = 4;
        expect((await journal.append(drafts, memo)).placed.map(({ cursor }) => partsOf(cursor).sequence)).toEqual([
          1, 2, 3, 4,
        ]);
        expect(room).toBe(4);
        // A repeat takes no room.
        room = 0;
        expect((await journal.append(drafts, memo)).kind).toBe("repeated");
        expect(entries).toHaveLength(4);
      });
    });

    test("what is counted or reserved wrongly fails its append alone, and is not remembered", async () => {
      const journal = await start();
      const bad = () => {
        throw new RangeError("the follower's own");
      };
      const memo = { scope: "s", key: "k", fingerprint: "f" };
      journal.follow({ ...followerOf(() => nobody), count: bad });
      const settled = await Promise.allSettled([
        append(journal, notification("a")),
        append(journal, notification("b"), memo),
        append(journal, notification("c")),
      ]);
      expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      record(journal);
      expect(await append(journal, notification("b"), memo)).toMatchObject({ kind: "appended" });
      expect(journal.health().status).toBe("ok");
    });

    test("to release or trim what is not there does nothing", async () => {
      const journal = await start();
      record(journal);
      journal.release(alice, [1, 99]);
      journal.release(bob, []);
      journal.trim(0);
      expect(partsOf((await append(journal, notification(1))).cursor).sequence).toBe(1);
      journal.trim(1);
      journal.trim(0);
      expect(partsOf((await append(journal, notification(2))).cursor).sequence).toBe(2);
    });

    test("a close keeps what was appended before it, and refuses what comes after it as `unavailable`", async () => {
      const journal = await start();
      const entries = record(journal);
      const before = append(journal, notification("before"));
      await journal.close();
      expect(partsOf((await before).cursor).sequence).toBe(1);
      expect(await problemOf(append(journal, notification("after")))).toBe("unavailable");
      expect(await problemOf(append(journal, notification("after"), { scope: "s", key: "k", fingerprint: "f" }))).toBe(
        "unavailable",
      );
      expect(entries.map(jsonOf)).toEqual(["before"]);
    });

    test("after a close nothing that is still on its way fails as anything but `unavailable`", async () => {
      const journal = await start();
      record(journal);
      const memo = { scope: "s", key: "k", fingerprint: "f" };
      await append(journal, notification(1), memo);
      await journal.close();
      await journal.close();
      journal.release(alice, [1]);
      journal.trim(1);
      expect(await problemOf(append(journal, notification(1), memo))).toBe("unavailable");
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
        for (let i = 0; i < entries; i++) await append(journal, notification(i));
        journal = await restart(journal);
        record(journal);
        const epoch = journal.history.epochs.at(-1)?.epoch ?? "";
        expect(epochs.map((old) => old.epoch)).not.toContain(epoch);
        epochs.push({ epoch, first });
        expect(journal.history.epochs).toEqual(epochs);
      }
      const { cursor } = await append(journal, notification("newest"));
      expect<object>(partsOf(cursor)).toEqual({ epoch: epochs.at(-1)?.epoch, sequence: 6 });
    });

    test("has the window's entries as they were, with the cursors that were given out", async () => {
      let journal = await start();
      const entries = record(journal);
      for (const [i, msg] of oddMessages.entries()) {
        await append(journal, notification(msg, i % 2 === 0 ? { channels: [msf, b2b] } : { users: [alice] }));
        clock.move(1000);
      }
      await append(journal, revocation(bob, 17));
      await append(journal, notification("held", { users: [alice, bob], channels: [b2b] }, 60));
      journal = await restart(journal);
      expect(journal.history.entries).toEqual(entries);
      expect(journal.history.trimmedTo).toBe(0);
      journal = await restart(journal);
      expect(journal.history.entries).toEqual(entries);
    });

    test("leaves out what became too old in the meantime, and says so", async () => {
      let journal = await begin();
      await append(journal, notification("old"));
      await append(journal, notification("also old"));
      clock.move(keep.window_ms - 1000);
      await append(journal, notification("young"));
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
      for (let i = 1; i <= 5; i++) await append(journal, notification(i));
      journal.trim(3);
      journal = await restart(journal);
      expect(journal.history.entries.map(jsonOf)).toEqual([4, 5]);
      expect(journal.history.trimmedTo).toBe(3);
    });

    test("goes on with its sequence after everything was trimmed", async () => {
      let journal = await begin();
      for (let i = 1; i <= 5; i++) await append(journal, notification(i));
      await append(journal, revocation(alice, 1));
      clock.move(keep.revocations_ms + 1);
      journal.trim(6);
      journal = await restart(journal);
      record(journal);
      expect(journal.history).toMatchObject({ entries: [], trimmedTo: 6 });
      expect(journal.history.epochs.at(-1)?.first).toBe(7);
      expect(partsOf((await append(journal, notification("next"))).cursor).sequence).toBe(7);
    });

    test("holds what was held, for those who have not got it, in order and with its cursor", async () => {
      let journal = await start();
      const entries = record(journal);
      for (const msg of ["one", "two"]) await append(journal, notification(msg, { users: [alice, bob] }, 3600));
      await append(journal, notification("not held", { users: [alice] }));
      await append(journal, notification("alice's", { users: [alice], channels: [msf] }, 3600));
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
        await append(journal, notification("passing"));
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
      await append(journal, notification("short", { users: [alice] }, 10));
      await append(journal, notification("long", { users: [alice] }, 20));
      clock.move(9_999);
      journal = await restart(journal);
      expect(journal.history.held.map(({ entry }) => jsonOf(entry))).toEqual(["short", "long"]);
      clock.move(1);
      journal = await restart(journal);
      expect(journal.history.held.map(({ entry }) => jsonOf(entry))).toEqual(["long"]);
    });

    test("remembers memos, for 24 hours from the append", async () => {
      let journal = await start();
      const users = Array.from({ length: 20 }, (_, i) => v.parse(KeycloakId, `user-${i}`));
      const drafts = [notification(1, { users }, 60), notification(2)];
      record(journal, { connections: 3, offline: users.slice(7, 15) });
      const memo = { scope: "s", key: "done", fingerprint: "f" };
      const { placed } = await journal.append(drafts, memo);
      const { bytes } = journal.memos();
      clock.move(keep.window_ms + 1);
      journal.trim(2);
      for (let life = 0; life < 3; life++) {
        journal = await restart(journal);
        record(journal);
        expect(await journal.append(drafts, memo)).toEqual({ kind: "repeated", placed });
        expect(await problemOf(journal.append(drafts, { ...memo, fingerprint: "g" }))).toBe("idempotency_mismatch");
        expect(journal.memos()).toMatchObject({ count: 1, bytes });
      }
      clock.move(24 * hour_ms - keep.window_ms);
      journal = await restart(journal);
      record(journal);
      expect((await journal.append(drafts, memo)).kind).toBe("appended");
    });

    test("knows who was revoked, as long as a token can live, though the window is past", async () => {
      let journal = await begin();
      await append(journal, revocation(alice, 111));
      clock.move(1000);
      await append(journal, revocation(bob, 222));
      const session = v.parse(SessionId, 'SjcsaEAdwWJgJLyVaH0S8qqc~"');
      await append(journal, { kind: "revocation", session });
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
