import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Journal } from "../src/journal/journal.ts";
import { env, run } from "./support/binary.ts";
import { connected, notify, post } from "./support/client.ts";
import { canMount, emptyDisk, fill, free } from "./support/disk.ts";
import { folder } from "./support/folder.ts";
import { alice, append, jsonOf, keep, notification, problemOf, record } from "./support/journal-suite.ts";
import { expectProblem } from "./support/problem.ts";
import { until } from "./support/raw.ts";
import { createClock } from "./support/realm.ts";
import { apiKey, start } from "./support/service.ts";
import { openAt, type OpenOptions } from "./support/sqlite-journal.ts";

/** The journal's file, and what others do to it. */

const journals = new Set<Journal>();
afterEach(async () => {
  for (const journal of journals) await journal.close();
  journals.clear();
});

const newPath = () => join(folder(), "journal.db");
const isRoot = process.getuid?.() === 0;
const modeOf = (path: string) => statSync(path).mode & 0o777;

async function open(path: string, options?: OpenOptions): Promise<Journal> {
  const journal = await openAt(path, options);
  journals.add(journal);
  record(journal);
  return journal;
}

/** Copies what `kill -9` would leave. */
function crash(path: string): string {
  const copy = newPath();
  for (const beside of ["", "-wal"]) copyFileSync(path + beside, copy + beside);
  return copy;
}

const isLost = (journal: Journal) => until("the journal has seen it", () => journal.health().status === "unavailable");
const isWell = (journal: Journal) => until("the journal is well again", () => journal.health().status === "ok");

describe("a file that is not there any more", () => {
  const faults: Record<string, { harm: (path: string) => void; reason: RegExp }> = {
    "was deleted": { harm: (path) => rmSync(path), reason: /deleted or moved/ },
    "was moved away": { harm: (path) => renameSync(path, `${path}.old`), reason: /deleted or moved/ },
    "was replaced by a copy": {
      harm(path) {
        copyFileSync(path, `${path}.new`);
        renameSync(`${path}.new`, path);
      },
      reason: /another file is in its place/,
    },
    "was replaced by an empty one": {
      harm(path) {
        rmSync(path);
        writeFileSync(path, "");
      },
      reason: /another file is in its place/,
    },
    "has a second owner": {
      harm: (path) => writeFileSync(`${path}.owner`, "process 1 on elsewhere\n"),
      reason: /another process has the file/,
    },
  };

  for (const [name, { harm, reason }] of Object.entries(faults)) {
    test(`because it ${name}: nothing is accepted, and the log says why`, async () => {
      const path = newPath();
      const told: (string | undefined)[] = [];
      const journal = await open(path, { events: { failed: (why) => void told.push(why) } });
      const memo = { scope: "s", key: "k", fingerprint: "f" };
      await append(journal, notification("before"), memo);
      harm(path);
      await isLost(journal);
      expect(journal.health().reason).toMatch(reason);
      expect(told).toEqual([expect.stringMatching(reason)]);
      expect(await problemOf(append(journal, notification("lost")))).toBe("unavailable");
      expect(await problemOf(append(journal, notification("before"), memo))).toBe("unavailable");
      // Its close leaves alone what is there now.
      const left = existsSync(path) ? readFileSync(path) : undefined;
      const owner = readFileSync(`${path}.owner`, "utf8");
      await journal.close();
      expect(existsSync(path) ? readFileSync(path) : undefined).toEqual(left);
      expect(existsSync(`${path}.owner`)).toBe(owner.includes("elsewhere"));
    });
  }

  test("is well when it is put back, and nothing is lost", async () => {
    const path = newPath();
    const journal = await open(path);
    await append(journal, notification("before", { users: [alice] }, 3600));
    renameSync(path, `${path}.away`);
    await isLost(journal);
    expect(await problemOf(append(journal, notification("refused")))).toBe("unavailable");
    journal.release(alice, [1]);
    renameSync(`${path}.away`, path);
    await isWell(journal);
    await append(journal, notification("after"));
    await journal.close();
    const { history } = await open(path);
    expect(history.entries.map(jsonOf)).toEqual(["before", "after"]);
    expect(history.held).toEqual([]);
  });

  test("is not missed by a second name of it", async () => {
    const path = newPath();
    const journal = await open(path);
    linkSync(path, `${path}.link`);
    rmSync(path);
    await isLost(journal);
    renameSync(`${path}.link`, path);
    await isWell(journal);
  });

  test("makes the service answer 503 and not ready, and costs no connection", async () => {
    const path = newPath();
    const { url } = await start({ AMPER_JOURNAL: `sqlite:${path}` });
    const page = await connected(url, "alice", "msf");
    await notify(url, { msg: "before", keycloak: "alice" });
    renameSync(path, `${path}.away`);
    await until("the service is not ready", async () => (await fetch(`${url}/health/ready`)).status === 503);
    const notReady = await expectProblem(await fetch(`${url}/health/ready`), "unavailable");
    expect(notReady.reasons).toEqual([expect.stringMatching(/^journal: the file was deleted or moved/)]);
    const refused = await post(url, { API_KEY: apiKey, msg: "refused", keycloak: "alice" });
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    await expectProblem(refused, "unavailable");
    renameSync(`${path}.away`, path);
    await until("the service is ready", async () => (await fetch(`${url}/health/ready`)).status === 200);
    await notify(url, { msg: "after", keycloak: "alice" });
    expect(await page.count(2)).toEqual(["before", "after"]);
  });
});

describe("a log that was deleted", () => {
  test("is written anew by itself, with all that was in it", async () => {
    const path = newPath();
    const journal = await open(path);
    await append(journal, notification("before"));
    rmSync(`${path}-wal`);
    await until("there is a log again", () => existsSync(`${path}-wal`));
    await append(journal, notification("after"));
    expect(journal.health().status).toBe("ok");
    expect(modeOf(`${path}-wal`)).toBe(0o600);
    const { history } = await open(crash(path));
    expect(history.entries.map(jsonOf)).toEqual(["before", "after"]);
  });
});

describe("who may read it", () => {
  test("is its owner alone, though it was there before with other rights", async () => {
    const path = newPath();
    writeFileSync(path, "");
    chmodSync(path, 0o666);
    const journal = await open(path);
    await append(journal, notification("secret"));
    for (const beside of ["", "-wal", ".owner"]) expect([beside, modeOf(path + beside)]).toEqual([beside, 0o600]);
  });

  test("is its owner alone after a crash, the log included", async () => {
    const path = newPath();
    await append(await open(path), notification("secret"));
    const crashed = crash(path);
    for (const beside of ["", "-wal"]) chmodSync(crashed + beside, 0o664);
    expect((await open(crashed)).history.entries.map(jsonOf)).toEqual(["secret"]);
    for (const beside of ["", "-wal"]) expect([beside, modeOf(crashed + beside)]).toEqual([beside, 0o600]);
  });

  // Only root can give a file to another user.
  test.skipIf(!isRoot)("cannot be changed by another user than the file's: then it is refused in words", async () => {
    const path = newPath();
    await (await open(path)).close();
    for (const [file, mode] of [
      [path, 0o666],
      [join(path, ".."), 0o777],
    ] as const)
      chmodSync(file, mode);
    const wrapper = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    const { code, stderr } = await run([], { env: { ...env, AMPER_JOURNAL: `sqlite:${path}` }, wrapper });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining(`${path} can be read or written by other users (mode 666)`),
    });
    expect(stderr).toContain("user 65534 cannot change that: chmod 600 it");
  });

  test("a log that is a symbolic link is refused", async () => {
    const path = newPath();
    await (await open(path)).close();
    writeFileSync(`${path}.elsewhere`, "precious");
    symlinkSync(`${path}.elsewhere`, `${path}-wal`);
    await expect(open(path)).rejects.toThrow("cannot be opened");
    expect(readFileSync(`${path}.elsewhere`, "utf8")).toBe("precious");
  });

  test("the owner's name is not written through a symbolic link, nor read through one", async () => {
    const path = newPath();
    const precious = `${path}.elsewhere`;
    writeFileSync(precious, "precious");
    symlinkSync(precious, `${path}.owner`);
    const first = await open(path);
    expect(readFileSync(precious, "utf8")).toBe("precious");
    expect(readFileSync(`${path}.owner`, "utf8")).toContain(`process ${process.pid} on `);
    rmSync(`${path}.owner`);
    symlinkSync(precious, `${path}.owner`);
    await expect(open(path)).rejects.toThrow(/in use by another process/);
    rmSync(`${path}.owner`);
    await first.close();
    expect(readFileSync(precious, "utf8")).toBe("precious");
  });
});

describe("a start reads the whole file", () => {
  /** How often, and what the owner file said at that moment. */
  async function checks(path: string): Promise<string[]> {
    const owners: string[] = [];
    const { query } = Database.prototype;
    Reflect.set(Database.prototype, "query", function (this: Database, sql: string) {
      if (sql.includes("quick_check")) owners.push(readFileSync(`${path}.owner`, "utf8"));
      return Reflect.apply(query, this, [sql]);
    });
    try {
      await (await open(path)).close();
    } finally {
      Reflect.set(Database.prototype, "query", query);
    }
    return owners;
  }

  test("not after a close, however often", async () => {
    const path = newPath();
    await append(await open(path), notification("x"));
    for (const journal of journals) await journal.close();
    for (let i = 0; i < 3; i++) expect(await checks(path)).toEqual([]);
  });

  test("once after a crash, and says before who has the lock", async () => {
    const path = newPath();
    await append(await open(path), notification("x"));
    const crashed = crash(path);
    expect(await checks(crashed)).toEqual([expect.stringContaining(`process ${process.pid} on `)]);
    expect(await checks(crashed)).toEqual([]);
  });

  test("once after it was copied, restored or edited", async () => {
    const path = newPath();
    await append(await open(path), notification("x"));
    for (const journal of journals) await journal.close();
    const copy = newPath();
    copyFileSync(path, copy);
    expect(await checks(copy)).toHaveLength(1);
    expect(await checks(copy)).toEqual([]);
    const db = new Database(path);
    db.run("UPDATE epochs SET epoch = epoch");
    db.close();
    expect(await checks(path)).toHaveLength(1);
    expect(await checks(path)).toEqual([]);
  });
});

describe("epochs without entries", () => {
  test("are known for the time of the window, and then forgotten", async () => {
    const path = newPath();
    const clock = createClock();
    const lives: string[] = [];
    for (let life = 0; life < 20; life++) {
      const journal = await open(path, { now: clock.now });
      lives.push(journal.history.epochs.at(-1)?.epoch ?? "");
      await journal.close();
    }
    const within = await open(path, { now: clock.now });
    expect(within.history.epochs.slice(0, -1).map(({ epoch }) => epoch)).toEqual(lives);
    await within.close();
    clock.move(keep.window_ms + 1);
    // The last of them has ended only now.
    const after = await open(path, { now: clock.now });
    expect(after.history.epochs).toHaveLength(2);
    await after.close();
    clock.move(keep.window_ms + 1);
    const later = await open(path, { now: clock.now });
    expect(later.history.epochs).toHaveLength(2);
    expect(later.history.epochs.map(({ epoch }) => epoch)).not.toContain(lives.at(-1) ?? "");
  });
});

describe.skipIf(!canMount())("a disk that is full at the start", () => {
  test("is said with what to do, and takes nothing from the journal", async () => {
    const path = emptyDisk();
    const file = join(path, "journal.db");
    const journal = await open(file);
    await append(journal, notification("kept"), { scope: "s", key: "k", fingerprint: "f" });
    await journal.close();
    fill(path);
    const error = await open(file).catch((reason: unknown) => reason);
    expect(String(error)).toContain("the disk is full. Free some space on it, or choose another path for `journal`");
    free(path);
    const again = await open(file);
    expect(again.history.entries.map(jsonOf)).toEqual(["kept"]);
    expect((await append(again, notification("kept"), { scope: "s", key: "k", fingerprint: "f" })).kind).toBe(
      "repeated",
    );
  });
});

describe("a file that others write into", () => {
  test("in place is not gone on with: what it lost would be missed by nobody", async () => {
    const path = newPath();
    const copy = newPath();
    const first = await open(path);
    await append(first, notification("one", { users: [alice] }, 3600));
    await first.close();
    copyFileSync(path, copy);
    const journal = await open(path);
    await append(journal, notification("two", { users: [alice] }, 3600));
    writeFileSync(path, readFileSync(copy));
    expect(await problemOf(append(journal, notification("three")))).toBe("unavailable");
    expect(journal.health().reason).toMatch(/another process has written/);
  });
});

describe("a path that is a link", () => {
  test("has its log watched, kept to its owner and counted where the file is", async () => {
    const [path, link] = [newPath(), newPath()];
    writeFileSync(path, "");
    symlinkSync(path, link);
    const journal = await open(link);
    await append(journal, notification("one", { users: [alice] }, 3600));
    expect([existsSync(`${link}-wal`), modeOf(`${path}-wal`)]).toEqual([false, 0o600]);
    expect(journal.size_bytes()).toBe(statSync(path).size + statSync(`${path}-wal`).size);
    rmSync(`${path}-wal`);
    await until("the log is written anew", () => existsSync(`${path}-wal`));
    const again = await open(crash(path));
    expect(again.history.held.map(({ entry }) => jsonOf(entry))).toEqual(["one"]);
  });
});
