import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { copyFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import type { Journal } from "../src/journal/journal.ts";
import { createMemoIndex, perBlock, tagOf } from "../src/journal/memo-index.ts";
import { createMemoryJournal } from "../src/journal/memory.ts";
import { KeycloakId } from "../src/model/names.ts";
import { folder } from "./support/folder.ts";
import { alice, append, bob, keep, msf, notification, record } from "./support/journal-suite.ts";
import { pick, seeded } from "./support/random.ts";
import { createClock } from "./support/realm.ts";
import { openAt, type OpenOptions } from "./support/sqlite-journal.ts";

/** What Idempotency-Keys may take, in the journal's file and in its memory. */

const journals = new Set<Journal>();
afterEach(async () => {
  for (const journal of journals) await journal.close();
  journals.clear();
});

const newPath = () => join(folder(), "journal.db");

async function open(path: string, options?: OpenOptions): Promise<Journal> {
  const journal = await openAt(path, options);
  journals.add(journal);
  record(journal, { connections: 1, offline: [] });
  return journal;
}

const memo = (key: string | number) => ({ scope: "backend", key: String(key), fingerprint: "f" });
const draft = notification("once", { users: [alice] });
const isKnown = async (journal: Journal, key: string | number) =>
  (await append(journal, draft, memo(key))).kind === "repeated";

/** Appends so many, in few transactions. */
async function remember(journal: Journal, from: number, to: number): Promise<void> {
  for (let first = from; first < to; first += 5000) {
    const some = Array.from({ length: Math.min(5000, to - first) }, (_, i) => append(journal, draft, memo(first + i)));
    await Promise.all(some);
  }
}

describe.each(["memory:", "sqlite:"])("what is remembered, %s", (kind) => {
  const limited = async (limits: OpenOptions) => {
    const { now = Date.now } = limits;
    if (kind === "sqlite:") return open(newPath(), limits);
    const journal = createMemoryJournal({ ...keep, ...limits }, { now });
    record(journal, { connections: 1, offline: [] });
    return journal;
  };

  test("stays within max_idempotency_bytes: the oldest are forgotten", async () => {
    const journal = await limited({ max_idempotency_bytes: 10_000 });
    for (let i = 0; i < 500; i++) {
      await append(journal, draft, memo(i));
      expect(journal.memos().bytes).toBeLessThanOrEqual(10_000);
    }
    const { count } = journal.memos();
    expect(count).toBeGreaterThan(50);
    expect(count).toBeLessThan(200);
    for (const key of [499, 498, 500 - count]) expect(await isKnown(journal, key)).toBe(true);
    for (const key of [0, 1, 500 - count - 1]) expect(await isKnown(journal, key)).toBe(false);
  });

  test("stays for idempotency_hours, and no longer", async () => {
    const clock = createClock();
    const journal = await limited({ idempotency_hours: 1, now: clock.now });
    await append(journal, draft, memo("a"));
    clock.move(3_600_000);
    expect(await isKnown(journal, "a")).toBe(true);
    clock.move(1);
    expect(await isKnown(journal, "a")).toBe(false);
  });
});

describe("in the file", () => {
  test("a limit that was lowered is met bit by bit, and keys still come and go", async () => {
    const path = newPath();
    const before = await open(path);
    await remember(before, 0, 10_000);
    await before.close();
    const journal = await open(path, { max_idempotency_bytes: 50_000 });
    expect(journal.memos().count).toBe(10_000);
    journal.trim(0);
    const { count } = journal.memos();
    expect(count).toBeLessThan(10_000);
    expect(count).toBeGreaterThan(5000);
    expect(await isKnown(journal, 9_999)).toBe(true);
    for (let i = 0; i < 10; i++) journal.trim(0);
    expect(journal.memos().bytes).toBeLessThanOrEqual(50_000);
    expect(await isKnown(journal, 9_999)).toBe(true);
    expect(await isKnown(journal, 0)).toBe(false);
  });

  test("each of 70,000 keys is known, after a close, after a crash, and after both", async () => {
    const { seed, random } = seeded();
    const path = newPath();
    let journal = await open(path);
    const total = 70_000;
    const expectKnown = async (upTo: number) => {
      const keys = [0, 1, perBlock - 2, perBlock - 1, perBlock, upTo - 1];
      for (let i = 0; i < 200; i++) keys.push(Math.floor(random() * upTo));
      for (const key of keys.filter((one) => one < upTo))
        expect([seed, key, await isKnown(journal, key)]).toEqual([seed, key, true]);
      expect(journal.memos().count).toBe(upTo);
    };
    await remember(journal, 0, 40_000);
    await journal.close();
    journal = await open(path);
    await expectKnown(40_000);
    await remember(journal, 40_000, total);
    await expectKnown(total);
    // What `kill -9` leaves is what is there while it lives.
    const crashed = newPath();
    for (const beside of ["", "-wal"]) copyFileSync(path + beside, crashed + beside);
    await journal.close();
    journal = await open(crashed);
    await expectKnown(total);
    await journal.close();
    journal = await open(crashed);
    await expectKnown(total);
    expect(await isKnown(journal, total)).toBe(false);
  });

  test("a list of a thousand users who are offline takes less than 600 bytes", async () => {
    const path = newPath();
    const journal = await open(path);
    const users = Array.from({ length: 1000 }, () => v.parse(KeycloakId, crypto.randomUUID()));
    record(journal, { connections: 1, offline: users.slice(1) });
    for (let i = 0; i < 50; i++) await append(journal, notification("x", { users }), memo(i));
    journal.trim(50);
    await journal.close();
    const db = new Database(path, { readonly: true });
    const { size } = db
      .query<{ size: number }, []>("SELECT sum(pgsize) AS size FROM dbstat WHERE name = 'memos'")
      .get() ?? {
      size: Number.NaN,
    };
    db.close();
    expect(size / 50).toBeLessThan(600);
  });

  test("the file shrinks after what was in it is out of the window", async () => {
    const path = newPath();
    const journal = await open(path);
    const big = notification("x".repeat(100_000));
    for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 10 }, () => append(journal, big)));
    await journal.close();
    const full = statSync(path).size;
    expect(full).toBeGreaterThan(10_000_000);
    const again = await open(path);
    for (let i = 0; i < 20; i++) again.trim(100);
    await again.close();
    expect(statSync(path).size).toBeLessThan(full / 4);
  });
});

describe("a file of the first version", () => {
  const receipt = (connections: number, offline: string[]) =>
    JSON.stringify({ id: "old-7", connections, offline, held: false });
  const now_ms = Date.now();
  const rows = [
    ["known", receipt(3, ["bob"]), now_ms - 1000],
    ["nobody offline", receipt(2, []), now_ms - 2000],
    ["without a receipt", null, now_ms - 3000],
    ["too old", receipt(1, []), now_ms - 25 * 3_600_000],
  ] as const;

  /** As the first version left it: closed, in WAL mode, without incremental vacuum. */
  function write(path: string, filler = 0): void {
    const db = new Database(path);
    db.run(`
      PRAGMA journal_mode = WAL;
      CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), next_sequence INTEGER NOT NULL,
        trimmed_to INTEGER NOT NULL, token_secret TEXT NOT NULL) STRICT;
      INSERT INTO state VALUES (1, 8, 0, '${"ab".repeat(32)}');
      CREATE TABLE epochs (first INTEGER NOT NULL, epoch TEXT NOT NULL UNIQUE) STRICT;
      INSERT INTO epochs VALUES (1, 'empty1'), (1, 'empty2'), (1, 'old');
      CREATE TABLE entries (sequence INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, kind TEXT NOT NULL,
        body TEXT NOT NULL, json TEXT NOT NULL, ttl_seconds INTEGER NOT NULL) STRICT;
      INSERT INTO entries VALUES (7, ${now_ms - 1000}, 'notification', '{"users":["alice","bob"]}', '"once"', 60);
      CREATE INDEX revocations_by_time ON entries (time_ms) WHERE kind = 'revocation';
      CREATE TABLE held (sequence INTEGER NOT NULL, user TEXT NOT NULL, PRIMARY KEY (sequence, user)) STRICT, WITHOUT ROWID;
      INSERT INTO held VALUES (7, 'bob');
      CREATE TABLE memos (scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, cursor TEXT NOT NULL,
        time_ms INTEGER NOT NULL, receipt TEXT, PRIMARY KEY (scope, key)) STRICT, WITHOUT ROWID;
      CREATE INDEX memos_by_time ON memos (time_ms);
      PRAGMA application_id = 1095585874;
      PRAGMA user_version = 1;`);
    const insert = db.prepare("INSERT INTO memos VALUES (?, ?, ?, ?, ?, ?)");
    db.transaction(() => {
      for (const [key, stored, time_ms] of rows) insert.run("backend", key, "f", "old-7", time_ms, stored);
      for (let i = 0; i < filler; i++) {
        insert.run("backend", `filler ${i}`, "f", "old-7", now_ms - 25 * 3_600_000, "x".repeat(3000));
      }
    })();
    insert.finalize();
    db.close();
  }

  test("keeps its memos and all else, and answers repeats as it did", async () => {
    const path = newPath();
    write(path);
    for (let life = 0; life < 3; life++) {
      const journal = await open(path);
      expect(journal.history.entries.map(({ cursor }) => String(cursor))).toEqual(["old-7"]);
      expect(journal.history.held.map(({ users }) => users)).toEqual([[bob]]);
      expect(journal.history.tokenSecret).toBe("ab".repeat(32));
      const toBoth = notification("once", { users: [alice, bob], channels: [msf] });
      const repeated = { kind: "repeated", cursor: "old-7" };
      expect(await append(journal, toBoth, memo("known"))).toMatchObject({
        ...repeated,
        outcome: { connections: 3, offline: [bob] },
      });
      expect(await append(journal, toBoth, memo("nobody offline"))).toMatchObject({
        ...repeated,
        outcome: { connections: 2, offline: [] },
      });
      // Nobody was told of it: so nobody was there.
      expect(await append(journal, toBoth, memo("without a receipt"))).toMatchObject({
        ...repeated,
        outcome: { connections: 0, offline: [alice, bob] },
      });
      if (life === 2) expect((await append(journal, toBoth, memo("too old"))).kind).toBe("appended");
      await journal.close();
    }
  });

  test("becomes small again, though it never could", async () => {
    const path = newPath();
    write(path, 3000);
    expect(statSync(path).size).toBeGreaterThan(9_000_000);
    const journal = await open(path);
    for (let i = 0; i < 12; i++) journal.trim(0);
    await journal.close();
    expect(statSync(path).size).toBeLessThan(4_000_000);
  });
});

describe("the index of names", () => {
  test("finds what was added, and nothing that was taken back, whatever comes in which order", () => {
    const { seed, random } = seeded();
    const index = createMemoIndex();
    const known = new Map<string, number>();
    let next = 1;
    let oldest = 1;
    for (let step = 0; step < 400; step++) {
      index.begin(Math.floor(oldest / perBlock));
      const [start, isUndone] = [next, random() < 0.3];
      const added: [string, number][] = [];
      const count = pick(random, [1, 3, 500, 2000]);
      for (let i = 0; i < count; i++) {
        const name = isUndone ? `taken back ${step} ${i}` : `name ${next}`;
        added.push([name, next]);
        index.add(tagOf(name), next);
        if (next % perBlock === perBlock - 1) index.seal(Math.floor(next / perBlock));
        next++;
      }
      if (isUndone) {
        index.undo();
        next = start;
        for (const [name] of added.slice(0, 5))
          expect([seed, name, index.find(tagOf(name)).some((id) => id >= start)]).toEqual([seed, name, false]);
      } else {
        for (const [name, id] of added) known.set(name, id);
      }
      if (random() < 0.05) oldest = Math.floor(oldest + random() * (next - oldest) * 0.3);
      for (let i = 0; i < 20; i++) {
        const id = Math.floor(oldest + random() * (next - oldest));
        if (id >= next) continue;
        expect([seed, id, index.find(tagOf(`name ${id}`)).includes(id)]).toEqual([seed, id, true]);
      }
    }
    expect(known.size).toBeGreaterThan(perBlock);
  });
});
