import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CannotOpen } from "../src/journal/cannot-open.ts";
import type { Journal } from "../src/journal/journal.ts";
import type { SqliteNeeds } from "../src/journal/sqlite.ts";
import { createWindow } from "../src/journal/window.ts";
import { partsOf } from "../src/model/cursor.ts";
import type { Entry } from "../src/model/entry.ts";
import { connected, next, notify, post } from "./support/client.ts";
import { canMount, emptyDisk, fill, free } from "./support/disk.ts";
import { run } from "./support/binary.ts";
import { killAfterTest } from "./support/children.ts";
import { folder } from "./support/folder.ts";
import {
  alice,
  append,
  bob,
  followerOf,
  jsonOf,
  keep,
  msf,
  notification,
  problemOf,
  record,
  revocation,
} from "./support/journal-suite.ts";
import { expectProblem } from "./support/problem.ts";
import { pick, seeded } from "./support/random.ts";
import { until } from "./support/raw.ts";
import { createClock } from "./support/realm.ts";
import { apiKey, start, wsToken } from "./support/service.ts";
import { openAt, type OpenOptions } from "./support/sqlite-journal.ts";

const root = join(import.meta.dir, "..");
const isRoot = process.getuid?.() === 0;
const minute_ms = 60_000;

const journals = new Set<Journal>();

afterEach(async () => {
  for (const journal of journals) await journal.close();
  journals.clear();
});

function newPath(): string {
  return join(folder(), "journal.db");
}

/** Keeps why the journal fails, and undefined when it recovers. */
function healthInto(reasons: (string | undefined)[]): Pick<SqliteNeeds["events"], "failed" | "recovered"> {
  return { failed: (reason) => void reasons.push(reason), recovered: () => void reasons.push(undefined) };
}

async function open(path: string, options?: OpenOptions): Promise<Journal> {
  const journal = await openAt(path, options);
  journals.add(journal);
  return journal;
}

/** What the file has after its journal was closed: it has one owner, and nobody else reads it before. */
function rowsOf(path: string, sql: string): unknown[] {
  const db = new Database(path, { readonly: true });
  try {
    return db
      .query<{ value: unknown }, []>(sql)
      .all()
      .map(({ value }) => value);
  } finally {
    db.close();
  }
}

function edit(path: string, ...statements: string[]): void {
  const db = new Database(path);
  for (const statement of statements) db.run(statement);
  db.close();
}

/** Another process that has the journal, does what it is told, and prints what came of it. */
function spawn(path: string, then: string) {
  const code = `
    import { openSqliteJournal } from ${JSON.stringify(join(root, "src/journal/sqlite.ts"))};
    const settings = {
      journal_sync: "normal",
      takeover_seconds: 20,
      journal_window_seconds: ${keep.window_ms / 1000},
      idempotency_hours: 24,
      max_idempotency_bytes: 1e9,
    };
    const events = { waiting() {}, failed() {}, recovered() {}, committed() {} };
    const needs = { revocations_ms: ${keep.revocations_ms}, now: Date.now, events };
    const journal = await openSqliteJournal(${JSON.stringify(path)}, settings, needs);
    const nobody = () => ({ connections: 0, offline: [] });
    journal.follow({ reserve: () => () => {}, count: nobody, follow: nobody });
    const draft = (msg) => ({ kind: "notification", target: { channels: ["msf"] }, json: JSON.stringify(msg), ttl_seconds: 0 });
    const append = async (msg, memo) => (await journal.append([draft(msg)], memo)).placed[0];
    const print = (line) => process.stdout.write(line + "\\n");
    print("open");
    ${then}`;
  const child = Bun.spawn([process.execPath, "-e", code], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
    // Where it is found if the run is interrupted.
    cwd: dirname(path),
  });
  killAfterTest(child);
  const lines: string[] = [];
  const ended = (async () => {
    let rest = "";
    for await (const chunk of child.stdout) {
      const parts = (rest + new TextDecoder().decode(chunk)).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    }
  })();
  return {
    lines,
    pid: child.pid,
    printed: (line: string) => until(`the other process prints ${line}`, () => lines.includes(line)),
    tell(line: string) {
      void child.stdin.write(`${line}\n`);
      void child.stdin.flush();
    },
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
      await ended;
    },
    exited: Promise.all([child.exited, ended]).then(([exitCode]) => exitCode),
  };
}

const closeWhenTold = `
  for await (const line of console) { if (line === "close") { await journal.close(); print("closed"); } }`;

describe("the file", () => {
  test("is readable for its owner alone, and so is what lies beside it, whatever the umask", async () => {
    const path = newPath();
    const umask = process.umask(0);
    try {
      const journal = await open(path);
      record(journal);
      await append(journal, notification("secret"));
      const files = readdirSync(join(path, ".."));
      expect(files.toSorted()).toEqual(["journal.db", "journal.db-wal", "journal.db.owner"]);
      for (const file of files) expect(statSync(join(path, "..", file)).mode & 0o777).toBe(0o600);
      await journal.close();
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(readdirSync(join(path, ".."))).toEqual(["journal.db"]);
    } finally {
      process.umask(umask);
    }
  });

  test("an empty one that is already there becomes a journal", async () => {
    const path = newPath();
    writeFileSync(path, "");
    expect((await open(path)).history.entries).toEqual([]);
  });

  /** A journal of many pages, closed. */
  async function written(): Promise<{ path: string; bytes: Buffer }> {
    const path = newPath();
    const journal = await open(path);
    record(journal);
    const memo = (i: number) => ({ scope: "backend", key: `key-${i}`, fingerprint: "f".repeat(40) });
    const drafts = Array.from({ length: 300 }, (_, i) => notification("x".repeat(300), { users: [alice, bob] }, i % 2));
    await Promise.all(drafts.map((draft, i) => append(journal, draft, memo(i))));
    await journal.close();
    return { path, bytes: readFileSync(path) };
  }

  /** It is refused in words for the operator, and is as it was, with nothing beside it; and again, as often as one tries. */
  async function expectRefused(path: string, words: string | RegExp): Promise<void> {
    const before = readFileSync(path);
    const beside = readdirSync(join(path, ".."));
    for (let i = 0; i < 2; i++) {
      const error = await open(path).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(CannotOpen);
      expect(String(error)).toContain(path);
      expect(String(error)).toMatch(words);
      expect(readFileSync(path).equals(before)).toBe(true);
      expect(readdirSync(join(path, ".."))).toEqual(beside);
    }
  }

  const pageOf = (bytes: Buffer) => bytes.readUInt16BE(16);
  const damages: Record<string, { words: RegExp; damage: (bytes: Buffer) => Buffer | string }> = {
    "random bytes": {
      words: /not a journal/,
      damage: (bytes) => Buffer.from(bytes.map((byte, i) => (byte + i * 7) % 256)),
    },
    "a text file": { words: /not a journal/, damage: () => "the operator's only copy of something else\n" },
    "a text file longer than a header": { words: /not a journal/, damage: () => "precious\n".repeat(1000) },
    "one byte": { words: /not a journal/, damage: () => "\n" },
    "cut off within its header": { words: /not a journal/, damage: (bytes) => bytes.subarray(0, 60) },
    "cut off after its header": { words: /damaged/, damage: (bytes) => bytes.subarray(0, 100) },
    "cut off after its first page": { words: /damaged/, damage: (bytes) => bytes.subarray(0, pageOf(bytes)) },
    "cut off in the middle": { words: /damaged/, damage: (bytes) => bytes.subarray(0, bytes.length >> 1) },
    "with a page of zeros in the middle": {
      words: /damaged/,
      damage: (bytes) => Buffer.from(bytes).fill(0, pageOf(bytes) * 9, pageOf(bytes) * 10),
    },
    "with flipped bytes in the middle": {
      words: /damaged/,
      damage: (bytes) => Buffer.from(bytes.map((byte, i) => (i >> 12 === 9 ? byte ^ 0xff : byte))),
    },
    "with a schema that is flipped": {
      words: /damaged/,
      damage: (bytes) => Buffer.from(bytes.map((byte, i) => (i >= 100 && i < 200 ? byte ^ 0xff : byte))),
    },
  };

  for (const [name, { words, damage }] of Object.entries(damages)) {
    test(`that is damaged or not ours is refused and left as it is: ${name}`, async () => {
      const { path, bytes } = await written();
      writeFileSync(path, damage(bytes));
      await expectRefused(path, words);
    });
  }

  test("that is damaged anywhere is refused and left as it is, or opened: no third way", async () => {
    const { seed, random } = seeded();
    const { path, bytes } = await written();
    let refused = 0;
    for (let i = 0; i < 60; i++) {
      const damaged = Buffer.from(bytes);
      const length = pick(random, [1, 16, 64, 4096]);
      const from = Math.floor(random() * (bytes.length - length));
      for (let at = from; at < from + length; at++) damaged[at] = Math.floor(random() * 256);
      writeFileSync(path, damaged);
      const result = await open(path).catch((error: unknown) => error);
      if (result instanceof Error) {
        refused++;
        const untouched = readFileSync(path).equals(damaged);
        expect({ seed, from, length, result, untouched }).toMatchObject({
          result: expect.any(CannotOpen),
          untouched: true,
        });
      } else {
        for (const journal of journals) await journal.close();
      }
    }
    expect(refused).toBeGreaterThan(5);
  });

  test("that is damaged and was left by `kill -9` is refused, and loses nothing of its log", async () => {
    const { path, bytes } = await written();
    const journal = await open(path);
    record(journal);
    for (let i = 0; i < 10; i++) await append(journal, notification("in the log only"));
    const copy = newPath();
    // All but its first pages: some of them are not in the log.
    const damaged = readFileSync(path).map((byte, i) => (i >= pageOf(bytes) * 5 ? byte ^ 0xff : byte));
    writeFileSync(copy, damaged);
    writeFileSync(`${copy}-wal`, readFileSync(`${path}-wal`));
    for (let i = 0; i < 2; i++) {
      await expect(open(copy)).rejects.toThrow(/damaged/);
      // SQLite moves the log into the file when it closes it.
      const left = readdirSync(join(copy, "..")).map((file) => readFileSync(join(copy, "..", file), "latin1"));
      expect(left.join("").split("in the log only").length - 1).toBeGreaterThanOrEqual(10);
    }
  });

  test("another program's database is refused and left as it is, in whatever mode it is", async () => {
    for (const mode of ["delete", "wal"]) {
      const path = newPath();
      edit(
        path,
        `PRAGMA journal_mode = ${mode}`,
        "CREATE TABLE customers (name)",
        "INSERT INTO customers VALUES ('Ada')",
      );
      await expectRefused(path, /not a journal of this service/);
    }
  });

  test("that a newer version wrote is refused and left as it is", async () => {
    const { path } = await written();
    edit(path, "PRAGMA user_version = 99");
    await expectRefused(path, /newer version/);
  });

  test("whose content nobody can read is refused and left as it is, and its lock is given back", async () => {
    const spoilers = {
      target: `UPDATE entries SET body = '{"users":"everyone"}' WHERE sequence = 7`,
      "not JSON": "UPDATE entries SET body = '{' WHERE sequence = 7",
      epoch: "UPDATE epochs SET epoch = 'Not an Epoch'",
      "held user": "UPDATE held SET user = ' with a space before it' WHERE user = 'alice' AND sequence = 2",
      state: "DELETE FROM state",
    };
    for (const spoiler of Object.values(spoilers)) {
      const path = newPath();
      const journal = await open(path);
      record(journal);
      for (let i = 0; i < 10; i++) await append(journal, notification(i, { users: [alice] }, 3600));
      await journal.close();
      edit(path, "PRAGMA journal_mode = WAL", spoiler);
      await expectRefused(path, /the file is damaged/);
    }
  });

  test("in no folder, or that is a folder, cannot be opened", async () => {
    const path = folder();
    await expect(open(join(path, "nowhere", "journal.db"))).rejects.toThrow(CannotOpen);
    await expect(open(path)).rejects.toThrow(CannotOpen);
    expect(readdirSync(path)).toEqual([]);
  });

  test("that cannot be made gives the executable a clean error, and exit code 1", async () => {
    const closed = folder();
    chmodSync(closed, 0o555);
    const env = { AMPER_PORT: "0", AMPER_API_KEYS: `backend=${apiKey}`, AMPER_WS_TOKENS: `front=${wsToken}` };
    // Root may write everywhere: somebody else has to try.
    const wrapper = isRoot ? ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] : [];
    for (const [options, cwd] of [
      [{ AMPER_JOURNAL: `sqlite:${closed}/journal.db` }, "/"],
      // The default is in the working directory.
      [{}, closed],
    ] as const) {
      const { code, stdout, stderr } = await run([], { env: { ...env, ...options }, cwd, wrapper });
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(
        /^amper-channels cannot start:\n {2}- \/\S*\.db cannot be opened by user \d+: the file cannot be written\n$/,
      );
    }
    expect(readdirSync(closed)).toEqual([]);
  });
});

describe("the owner", () => {
  test("a second one waits, is told who has the journal, and gives up after takeover_seconds", async () => {
    const path = newPath();
    const first = spawn(path, closeWhenTold);
    await first.printed("open");
    const clock = createClock();
    const owners: string[] = [];
    const waiting = Promise.withResolvers<void>();
    const onWaiting = (owner: string) => {
      owners.push(owner);
      waiting.resolve();
    };
    let looks = 0;
    const now = () => (looks++, clock.now());
    const second = open(path, { takeover_seconds: 30, now, events: { waiting: onWaiting } }).catch(
      (error: unknown) => error,
    );
    await waiting.promise;
    clock.move(29_999);
    // It tries again and again, and does not end before its time.
    const before = looks;
    await until("it looks again", () => looks > before + 3);
    expect(await Promise.race([second, Promise.resolve("still waiting")])).toBe("still waiting");
    clock.move(1);
    const error = await second;
    expect(error).toBeInstanceOf(CannotOpen);
    expect(String(error)).toMatch(new RegExp(`in use by process ${first.pid} on \\S+: .* 30 s \\(takeover_seconds\\)`));
    expect(owners).toEqual([expect.stringContaining(`process ${first.pid} on `)]);
    // Nothing happened to the first.
    first.tell("close");
    await first.printed("closed");
  });

  test("a second one that may not wait fails at once", async () => {
    const path = newPath();
    await spawn(path, closeWhenTold).printed("open");
    await expect(open(path, { takeover_seconds: 0 })).rejects.toThrow("is in use by process");
  });

  test("a second one has it as soon as the first closes it, though the first lives on", async () => {
    const path = newPath();
    const first = spawn(path, `print((await append("from the first")).cursor);\n${closeWhenTold}`);
    await until("the first prints two lines", () => first.lines.length === 2);
    const waiting = Promise.withResolvers<string>();
    const second = open(path, { takeover_seconds: 20, events: { waiting: waiting.resolve } });
    expect(await waiting.promise).toContain(`process ${first.pid}`);
    first.tell("close");
    const { history } = await second;
    expect<string[]>(history.entries.map(({ cursor }) => cursor)).toEqual(first.lines.slice(1, 2));
    first.tell("close");
    expect(readFileSync(`${path}.owner`, "utf8")).toContain(`process ${process.pid} on `);
  });

  test("a close gives the journal free at once, in the same process too, a thousand statements later", async () => {
    const path = newPath();
    for (let i = 0; i < 20; i++) {
      const journal = await open(path);
      record(journal);
      const memo = { scope: "s", key: `k${i}`, fingerprint: "f" };
      const { cursor } = await append(journal, notification(i, { users: [alice] }, 60), memo);
      await append(journal, notification(i, { users: [alice] }, 60), memo);
      journal.release(alice, [partsOf(cursor).sequence]);
      journal.trim(i);
      await journal.close();
    }
  });

  test("a close is the end: what its last entry sets off is refused, and nothing touches the file any more", async () => {
    const reasons: (string | undefined)[] = [];
    const journal = await open(newPath(), { events: healthInto(reasons) });
    const inner: Promise<string>[] = [];
    const follow = ({ sequence }: Entry) => {
      journal.release(alice, [sequence]);
      inner.push(problemOf(append(journal, notification("too late"))));
      return { connections: 0, offline: [] };
    };
    journal.follow(followerOf(follow));
    const last = append(journal, notification("last", { users: [alice] }, 60));
    await journal.close();
    expect(partsOf((await last).cursor).sequence).toBe(1);
    expect(await Promise.all(inner)).toEqual(["unavailable"]);
    // Another one, whose writes begin to wait later, has written them.
    const path = newPath();
    const later = await open(path);
    record(later);
    await append(later, notification(1, { users: [alice] }, 60));
    const size = statSync(`${path}-wal`).size;
    later.release(alice, [1]);
    await until("the release is in the file", () => statSync(`${path}-wal`).size > size);
    expect(reasons).toEqual([]);
    expect(journal.health().status).toBe("ok");
  });

  test("that is killed leaves no lock", async () => {
    const path = newPath();
    const first = spawn(path, closeWhenTold);
    await first.printed("open");
    await first.kill();
    // What it left beside the file is only for people to read.
    expect(existsSync(`${path}.owner`)).toBe(true);
    await open(path, { takeover_seconds: 0 });
  });

  test("that is killed while another waits is succeeded", async () => {
    const path = newPath();
    const first = spawn(path, closeWhenTold);
    await first.printed("open");
    const waiting = Promise.withResolvers<string>();
    const second = open(path, { takeover_seconds: 20, events: { waiting: waiting.resolve } });
    await waiting.promise;
    await first.kill();
    expect((await second).history.epochs).toHaveLength(2);
  });

  test("there is one at a time, however many want the journal, and nothing of any is lost", async () => {
    const path = newPath();
    const appendAll = `for (let i = 0; i < 20; i++) print((await append(i)).cursor);\nawait journal.close(); process.exit(0);`;
    const rivals = Array.from({ length: 5 }, () => spawn(path, appendAll));
    for (const rival of rivals) expect(await rival.exited).toBe(0);
    const { history } = await open(path);
    expect(history.entries.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(history.epochs.map(({ first }) => first)).toEqual([1, 21, 41, 61, 81, 101]);
    const printed = rivals.flatMap(({ lines }) => lines.slice(1));
    expect<string[]>(printed.toSorted()).toEqual(history.entries.map(({ cursor }) => cursor).toSorted());
  });
});

describe("what was accepted", () => {
  test("survives `kill -9`, all of it, in order, however often", async () => {
    const path = newPath();
    const printed: string[] = [];
    for (let round = 1; round <= 4; round++) {
      const child = spawn(path, `for (let i = 0; ; i++) print((await append(i)).cursor);`);
      await until("more is accepted", () => child.lines.length > round * 150);
      await child.kill();
      printed.push(...child.lines.slice(1));
    }
    const { history } = await open(path);
    const cursors: string[] = history.entries.map(({ cursor }) => cursor);
    const known = new Set(cursors);
    expect(printed.filter((cursor) => !known.has(cursor))).toEqual([]);
    expect(printed.length).toBeGreaterThan(600);
    const inOrder = new Set(printed);
    expect(cursors.filter((cursor) => inOrder.has(cursor))).toEqual(printed);
    expect(history.entries.map(({ sequence }) => sequence)).toEqual(cursors.map((_, i) => i + 1));
    expect(history.epochs).toHaveLength(5);
  });

  test("in one tick is committed in one transaction", async () => {
    const commits: number[] = [];
    const journal = await open(newPath(), {
      events: {
        committed(seconds, entries) {
          expect(seconds).toBeGreaterThanOrEqual(0);
          commits.push(entries);
        },
      },
    });
    record(journal);
    const many = (count: number) => Array.from({ length: count }, (_, i) => append(journal, notification(i)));
    await Promise.all(many(100));
    expect(commits).toEqual([100]);
    // What starts a few microtasks later in the same turn of the event loop is of the same transaction.
    const first = append(journal, notification(1));
    await Promise.resolve();
    await Promise.resolve();
    await Promise.all([first, ...many(10)]);
    expect(commits).toEqual([100, 11]);
    await append(journal, notification("alone"));
    expect(commits).toEqual([100, 11, 1]);
  });

  test("is in the window again after a restart, under the cursors that were given out", async () => {
    const path = newPath();
    let journal = await open(path);
    record(journal);
    const cursors = [journal.history.epochs.map(({ epoch }) => `${epoch}-0`)[0] ?? ""];
    for (let life = 0; life < 3; life++) {
      for (let i = 0; i < 5; i++) {
        const target = i % 2 === 0 ? { channels: [msf] } : { users: [alice] };
        cursors.push((await append(journal, notification(i, target))).cursor);
      }
      await journal.close();
      journal = await open(path);
      record(journal);
    }
    const { epochs, trimmedTo, entries } = journal.history;
    const sizes = { journal_window_seconds: 300, journal_window_bytes: 1e6 };
    const window = createWindow(sizes, { epochs, trimmedTo, entries }, journal.uptime_ms);
    for (const [sequence, cursor] of cursors.entries()) {
      // A cursor is its own proof, to us as to a client.
      const given = entries.find((entry) => entry.sequence === sequence)?.cursor;
      expect(sequence === 0 || given === cursor).toBe(true);
      if (given === undefined) continue;
      expect(window.locate(given)).toBe(sequence);
      expect(window.since(sequence, alice, msf, 1e6)).toHaveLength(15 - sequence);
    }
    const { cursor } = await append(journal, notification("next"));
    expect(partsOf(cursor).sequence).toBe(16);
  });

  test("has a head that is good after a restart, even if the newest entries were revocations that time has swept away", async () => {
    const path = newPath();
    const clock = createClock();
    const options = { now: clock.now, window_ms: 10 * minute_ms, revocations_ms: minute_ms };
    const first = await open(path, options);
    record(first);
    await append(first, notification(1));
    await append(first, revocation(alice, 1));
    clock.move(minute_ms + 1);
    first.trim(0);
    await first.close();
    const { history, uptime_ms } = await open(path, options);
    const sizes = { journal_window_seconds: 600, journal_window_bytes: 1e6 };
    const window = createWindow(sizes, history, uptime_ms);
    expect(window.locate(window.head())).toBe(2);
  });
});

describe("trimming", () => {
  const sequences = "SELECT sequence AS value FROM entries ORDER BY sequence";
  const clock = createClock();
  const ttl = 3600;

  test("deletes what is out of the window, but never what is held", async () => {
    const path = newPath();
    const journal = await open(path, { now: clock.now });
    record(journal);
    for (let i = 1; i <= 10; i++)
      await append(journal, notification(i, { users: [alice, bob] }, i % 3 === 0 ? ttl : 0));
    await append(journal, revocation(alice, 1));
    journal.trim(8);
    await journal.close();
    expect(rowsOf(path, sequences)).toEqual([3, 6, 9, 10, 11]);
    const again = await open(path, { now: clock.now });
    expect(again.history.entries.map(({ sequence }) => sequence)).toEqual([9, 10, 11]);
    again.trim(11);
    await again.close();
    // A revocation stays as long as a token can live.
    expect(rowsOf(path, sequences)).toEqual([3, 6, 9, 11]);
  });

  test("deletes what was held when the last of its users has it, if it is out of the window", async () => {
    const path = newPath();
    const journal = await open(path, { now: clock.now });
    record(journal);
    for (let i = 1; i <= 6; i++) await append(journal, notification(i, { users: [alice, bob] }, ttl));
    journal.trim(4);
    journal.release(alice, [1, 2, 3, 5]);
    journal.release(bob, [2, 3, 5]);
    await journal.close();
    // 1 is still held for bob; 5 is held for nobody, but in the window.
    expect(rowsOf(path, sequences)).toEqual([1, 4, 5, 6]);
    expect(rowsOf(path, "SELECT sequence || user AS value FROM held")).toEqual([
      "1bob",
      "4alice",
      "4bob",
      "6alice",
      "6bob",
    ]);
    const again = await open(path, { now: clock.now });
    again.trim(6);
    again.release(bob, [1]);
    await again.close();
    expect(rowsOf(path, sequences)).toEqual([4, 6]);
  });

  test("takes up, after a restart, what became too old in the meantime, and what was held too long", async () => {
    const path = newPath();
    const first = await open(path, { now: clock.now });
    record(first);
    await append(first, notification("old"));
    await append(first, notification("held, and old", { users: [alice] }, ttl));
    await append(first, notification("held too long", { users: [alice, bob] }, 1));
    clock.move(keep.window_ms + 1);
    await append(first, notification("young"));
    await first.close();
    const second = await open(path, { now: clock.now });
    record(second);
    await append(second, notification("new"));
    second.trim(second.history.trimmedTo);
    await second.close();
    expect(rowsOf(path, "SELECT json AS value FROM entries ORDER BY sequence")).toEqual([
      '"held, and old"',
      '"young"',
      '"new"',
    ]);
    expect(rowsOf(path, "SELECT sequence AS value FROM held")).toEqual([2]);
  });

  test("forgets memos after 24 hours, and revocations when no token is left that they could be about", async () => {
    const path = newPath();
    const journal = await open(path, { now: clock.now });
    record(journal);
    const memo = (key: string) => ({ scope: "s", key, fingerprint: "f" });
    await append(journal, revocation(alice, 1), memo("old"));
    clock.move(keep.revocations_ms);
    await append(journal, revocation(bob, 1), memo("young"));
    journal.trim(2);
    clock.move(24 * 60 * minute_ms - keep.revocations_ms + 1);
    journal.trim(2);
    await journal.close();
    expect(rowsOf(path, "SELECT name AS value FROM memos")).toEqual(["s\nyoung"]);
    clock.move(-(24 * 60 * minute_ms));
    expect(rowsOf(path, sequences)).toEqual([]);
  });

  test("takes a portion at a time: it never stands in the way of what is to be accepted", async () => {
    const path = newPath();
    const journal = await open(path, { now: clock.now });
    record(journal);
    await Promise.all(Array.from({ length: 21_000 }, (_, i) => append(journal, notification(i))));
    journal.trim(21_000);
    await journal.close();
    expect(rowsOf(path, "SELECT count(*) AS value FROM entries")).toEqual([1000]);
    const again = await open(path, { now: clock.now });
    again.trim(21_000);
    await again.close();
    expect(rowsOf(path, sequences)).toEqual([]);
    expect((await open(path, { now: clock.now })).history).toMatchObject({ entries: [], trimmedTo: 21_000 });
  });
});

describe.skipIf(!canMount())("a full disk", () => {
  test("refuses as `unavailable`, says so, has nothing half-written, and heals by itself without a gap", async () => {
    const path = emptyDisk();
    const reasons: (string | undefined)[] = [];
    const options = { events: healthInto(reasons) };
    const journal = await open(join(path, "journal.db"), options);
    const entries = record(journal);
    const memo = { scope: "s", key: "k", fingerprint: "f" };
    const first = await append(journal, notification("before", { users: [alice, bob] }, 3600), memo);
    fill(path);

    const refused = { scope: "s", key: "refused", fingerprint: "f" };
    const settled = await Promise.all([
      problemOf(append(journal, notification("one", { users: [alice] }, 3600), refused)),
      problemOf(append(journal, revocation(alice, 1))),
      problemOf(append(journal, notification("x".repeat(50_000)))),
    ]);
    expect(settled).toEqual(["unavailable", "unavailable", "unavailable"]);
    expect(await problemOf(append(journal, notification("again")))).toBe("unavailable");
    expect(journal.health()).toEqual({ status: "unavailable", reason: "the disk is full" });
    expect(reasons).toEqual(["the disk is full"]);
    expect(entries.map(jsonOf)).toEqual(["before"]);
    // Reading needs no space: a repeat gets its answer, and does not pass for a disk that is well again.
    expect(await append(journal, notification("before", { users: [alice, bob] }, 3600), memo)).toMatchObject({
      kind: "repeated",
      cursor: first.cursor,
    });
    expect(await problemOf(append(journal, notification("other"), { ...memo, fingerprint: "other" }))).toBe(
      "idempotency_mismatch",
    );
    expect(reasons).toEqual(["the disk is full"]);
    // These may wait; they are not lost.
    journal.release(alice, [1]);
    journal.trim(1);
    expect(await problemOf(append(journal, notification("and again")))).toBe("unavailable");
    expect((await append(journal, notification("before", { users: [alice, bob] }), memo)).kind).toBe("repeated");

    free(path);
    await until("the journal is well", () => journal.health().status === "ok");
    expect(reasons).toEqual(["the disk is full", undefined]);
    const { cursor } = await append(journal, notification("after"), refused);
    expect(partsOf(cursor).sequence).toBe(2);
    await journal.close();

    const again = await open(join(path, "journal.db"));
    record(again);
    expect(again.history.entries.map(jsonOf)).toEqual(["before", "after"]);
    expect(again.history.held.map(({ users }) => users)).toEqual([[bob]]);
    expect(await append(again, notification("x"), memo)).toMatchObject({ kind: "repeated", cursor: first.cursor });
    expect(await append(again, notification("x"), refused)).toMatchObject({ kind: "repeated", cursor });
  });

  test("keeps what waits to be written until it heals, and writes it by itself, though nothing else is appended", async () => {
    const path = emptyDisk();
    const journal = await open(join(path, "journal.db"));
    record(journal);
    await append(journal, notification("held", { users: [alice] }, 3600));
    fill(path);
    expect(await problemOf(append(journal, notification("refused")))).toBe("unavailable");
    journal.release(alice, [1]);
    const size = statSync(join(path, "journal.db-wal")).size;
    free(path);
    await until("the journal is well", () => journal.health().status === "ok");
    // What is written by itself shows in the file, long before a close.
    await until("the release is in the file", () => statSync(join(path, "journal.db-wal")).size > size);
    await journal.close();
    expect((await open(join(path, "journal.db"))).history.held).toEqual([]);
  });

  test("takes what still fits after it has refused what does not", async () => {
    const path = emptyDisk();
    const journal = await open(join(path, "journal.db"));
    const entries = record(journal);
    await append(journal, notification("before"));
    fill(path, 100_000);
    expect(await problemOf(append(journal, notification("x".repeat(200_000))))).toBe("unavailable");
    expect(partsOf((await append(journal, notification("small"))).cursor).sequence).toBe(2);
    expect(journal.health().status).toBe("ok");
    expect(entries.map(jsonOf)).toEqual(["before", "small"]);
  });

  test("takes nothing from what was accepted, over any number of fills, closes and starts", async () => {
    const path = emptyDisk();
    const file = join(path, "journal.db");
    const accepted: unknown[] = [];
    for (let round = 0; round < 4; round++) {
      const journal = await open(file);
      expect(journal.history.entries.map(({ cursor }) => cursor)).toEqual(accepted.map(() => expect.any(String)));
      expect(journal.history.entries.map(jsonOf)).toEqual(accepted);
      record(journal);
      for (let i = 0; i < 20; i++)
        accepted.push((await append(journal, notification(`${round}.${i}`)), `${round}.${i}`));
      fill(path);
      expect(await problemOf(append(journal, notification("refused")))).toBe("unavailable");
      await journal.close();
      // A start with no space left says why; what is there stays there.
      const full = await open(file).catch((error: unknown) => error);
      if (full instanceof Error) {
        expect(full).toBeInstanceOf(CannotOpen);
        expect(full.message).toContain("the disk is full");
      } else {
        for (const opened of journals) await opened.close();
      }
      free(path);
    }
    expect((await open(file)).history.entries.map(jsonOf)).toEqual(accepted);
  });

  test("no new journal can be made on it, and it says why", async () => {
    const path = emptyDisk();
    fill(path);
    await expect(open(join(path, "journal.db"))).rejects.toThrow("the disk is full");
    free(path);
    expect((await open(join(path, "journal.db"))).history.entries).toEqual([]);
  });

  test("makes the service answer 503 and not ready, costs no connection, and heals", async () => {
    const path = emptyDisk();
    const service = await start({ AMPER_JOURNAL: `sqlite:${join(path, "journal.db")}` });
    const { url } = service;
    const page = await connected(url, "alice", "msf", { transports: ["websocket"] });
    const polling = await connected(url, "alice", "msf", { transports: ["polling"] });
    const disconnects: unknown[] = [];
    for (const { socket } of [page, polling]) socket.on("disconnect", (reason) => disconnects.push(reason));
    await notify(url, { msg: "before", keycloak: "alice" });
    fill(path);

    const body = { API_KEY: apiKey, msg: "retried", keycloak: "alice" };
    const retried = { "Idempotency-Key": "order-1" };
    for (const headers of [{}, retried, retried]) {
      const response = await post(url, headers === retried ? body : { ...body, msg: "lost" }, headers);
      expect(response.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
      await expectProblem(response, "unavailable");
    }
    const notReady = await fetch(`${url}/health/ready`);
    expect(notReady.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
    expect((await expectProblem(notReady, "unavailable")).reasons).toEqual(["journal: the disk is full"]);
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    // Who comes now is taken as well: only accepting needs the disk.
    const late = await connected(url, "bob", "msf");

    free(path);
    await until("it is ready", async () => (await fetch(`${url}/health/ready`)).status === 200);
    const response = await post(url, body, retried);
    expect(response.status).toBe(200);
    expect(response.headers.get("idempotent-replayed")).toBeNull();
    await notify(url, { msg: "after", channel: "msf" });
    expect(await page.count(3)).toEqual(["before", "retried", "after"]);
    expect(await polling.count(3)).toEqual(["before", "retried", "after"]);
    expect(await late.count(1)).toEqual(["after"]);
    expect(disconnects).toEqual([]);

    const again = next(page.socket, "connect");
    page.socket.io.engine.close();
    await again;
    expect(page.socket.recovered).toBe(true);
    expect(page.received).toEqual(["before", "retried", "after"]);
  });
});
