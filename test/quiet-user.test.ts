import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { createBeat } from "../src/connections/beat.ts";
import { createWindow } from "../src/journal/window.ts";
import { Cursor, cursorAt, partsOf } from "../src/model/cursor.ts";
import type { Draft, Target } from "../src/model/entry.ts";
import { KeycloakId } from "../src/model/names.ts";
import { launch } from "./support/binary.ts";
import { connected, next, notify, transports, type Page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { b2b, notification, revocation } from "./support/journal-suite.ts";
import { startTapped } from "./support/journal-tap.ts";
import { proxy } from "./support/proxy.ts";
import { pick, seeded } from "./support/random.ts";
import { metric, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** Users who get nothing while the journal moves on: their place has to move with it, or they cannot be recovered. */

const user = (name: string): KeycloakId => v.parse(KeycloakId, name);

/** Cuts the connection for a moment. Resolves with whether the client is told that it missed nothing. */
async function cut({ socket }: Page): Promise<boolean> {
  const back = next(socket, "connect");
  socket.io.engine.close();
  await back;
  return socket.recovered;
}

describe("a quiet user is recovered after a short cut", () => {
  const busy: Record<string, { window: string; count: number; draft: (n: number) => Draft }> = {
    "although thousands of tiny messages have filled the window": {
      window: "1 MiB",
      count: 4500,
      draft: () => notification("x", { channels: [b2b] }),
    },
    "although lists of many users have filled the window": {
      window: "1 MiB",
      count: 100,
      draft: (n) => notification(n, { users: Array.from({ length: 300 }, (_, i) => user(`user-${i}`)) }),
    },
    "although each notification is for another user": {
      window: "1 MiB",
      count: 3000,
      draft: (n) => notification(n, { users: [user(`user-${n}`)] }),
    },
    "although revocations have filled the window": {
      window: "256 KiB",
      count: 2000,
      draft: (n) => revocation(user(`user-${n}`), 0),
    },
    "although few large messages have filled the window": {
      window: "1 MiB",
      count: 40,
      draft: () => notification("ж".repeat(30_000), { channels: [b2b] }),
    },
  };
  for (const [name, { window, count, draft }] of Object.entries(busy)) {
    test(name, async () => {
      const { service, journal } = await startTapped({ AMPER_JOURNAL_WINDOW_BYTES: window });
      const { url } = service;
      const alice = await connected(url, "alice", "msf");
      let told = 0;
      alice.socket.on("cursor", (head: unknown) => (told = partsOf(v.parse(Cursor, head)).sequence));
      for (let n = 0; n < count; n++) await journal.append(draft(n));
      const entries = await metric(url, "amper_window_entries");
      expect(entries).toBeLessThan(count);
      await until("she is told a head that is in the window", () => told >= count - entries);
      expect(await cut(alice)).toBe(true);
      await notify(url, { msg: "at last", keycloak: "alice" });
      expect(await alice.count(1)).toEqual(["at last"]);
    });
  }

  test("whatever is added, the head that was told last stays in the window", async () => {
    const { seed, random } = seeded();
    const journal_window_bytes = 300_000;
    const settings = { journal_window_seconds: 3600, journal_window_bytes };
    const history = { epochs: [{ epoch: "e", first: 1 }], entries: [], trimmedTo: 0 };
    const window = createWindow(settings, history, () => 0);
    let told = 0;
    let largest_bytes = 0;
    const announce = (head: Cursor): void => {
      // A client that is away from one beat to the next loses nothing: four fifths of the window are left.
      const held = window.since(told, user("nobody"), b2b, Infinity);
      expect({ seed, held: typeof held }).toEqual({ seed, held: "object" });
      told = partsOf(head).sequence;
    };
    const beat = createBeat(settings, { window, fanout: { announce } });
    for (let sequence = 1; sequence <= 5000; sequence++) {
      const names = Array.from({ length: Math.floor(random() ** 6 * 60) }, () =>
        user(`user-${Math.floor(random() * 40)}`),
      );
      const target: Target = names.length === 0 ? { channels: [b2b] } : { users: [...new Set(names)] };
      const text = pick(random, ["x", "ж"]).repeat(Math.floor(random() ** 4 * 8000));
      const draft = random() < 0.1 ? revocation(user("gone"), 0) : notification(text, target);
      const before_bytes = window.added_bytes;
      window.add({ ...draft, sequence, cursor: cursorAt("e", sequence), time_ms: 0, uptime_ms: 0 });
      largest_bytes = Math.max(largest_bytes, window.added_bytes - before_bytes);
      beat.moved();
      await Promise.resolve();
    }
    beat.stop();
    expect(window.trimmedTo).toBeGreaterThan(1000);
    // Or else one entry alone could turn the window over.
    expect(largest_bytes).toBeLessThan(journal_window_bytes / 5);
  });
});

for (const [name, options] of Object.entries(transports)) {
  describe(`a client that was away while others were told the head, ${name}`, () => {
    const far = { AMPER_JOURNAL_WINDOW_SECONDS: "300" };

    /** The window becomes empty: everything in it is too old. */
    async function pass(url: string, clock: { now_ms: number }): Promise<void> {
      clock.now_ms += 301_000;
      await until("the window is empty", async () => (await metric(url, "amper_window_entries")) === 0);
    }

    test("is told it when it comes back, after its replay", async () => {
      const { url } = await start(far);
      const alice = await connected(url, "alice", "msf", options);
      const events: unknown[] = [];
      alice.socket.onAny((event, ...args) => events.push([event, ...args]));
      alice.socket.disconnect();
      await until("she has left", async () => (await metric(url, "amper_users")) === 0);
      const missed = await notify(url, { msg: "missed", channel: "msf" });
      const { id: head } = await notify(url, { msg: "for others", channel: "b2b" });
      const back = next(alice.socket, "cursor");
      alice.socket.connect();
      await back;
      expect(events).toEqual([
        ["notification", "missed", missed.id],
        ["cursor", head],
      ]);
    });

    test("keeps its place in a quiet journal, longer than the window", async () => {
      const clock = { now_ms: Date.now() };
      const { url } = await start(far, { now: () => clock.now_ms });
      const alice = await connected(url, "alice", "msf", options);
      alice.socket.disconnect();
      await until("she has left", async () => (await metric(url, "amper_users")) === 0);
      await notify(url, { msg: "for others", channel: "b2b" });
      const back = next(alice.socket, "connect");
      alice.socket.connect();
      await back;
      await pass(url, clock);
      expect(await cut(alice)).toBe(true);
    });

    test("keeps its place over a restart before the head was told", async () => {
      const clock = { now_ms: Date.now() };
      const env = { ...far, AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
      const first = await start(env, { now: () => clock.now_ms });
      const alice = await connected(first.url, "alice", "msf", options);
      await notify(first.url, { msg: "for others", channel: "b2b" });
      const back = next(alice.socket, "connect");
      await first.stop();
      const { url } = await start({ ...env, AMPER_PORT: new URL(first.url).port }, { now: () => clock.now_ms });
      await back;
      await pass(url, clock);
      expect(await cut(alice)).toBe(true);
      await notify(url, { msg: "at last", keycloak: "alice" });
      expect(await alice.count(1)).toEqual(["at last"]);
    });

    test("is told nothing that it knows: at its first connect, or where nothing has moved", async () => {
      const { url } = await start(far);
      await notify(url, { msg: "before", channel: "msf" });
      const alice = await connected(url, "alice", "msf", options);
      const events: unknown[] = [];
      alice.socket.onAny((event) => events.push(event));
      expect(await cut(alice)).toBe(true);
      await notify(url, { msg: 1, keycloak: "alice" });
      await alice.count(1);
      expect(await cut(alice)).toBe(true);
      await notify(url, { msg: 2, keycloak: "alice" });
      await alice.count(2);
      expect(events).toEqual(["notification", "notification"]);
    });
  });
}

test("quiet pages of the executable are recovered after a kill, a window without a word, and a cut", async () => {
  const env = { AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}`, AMPER_JOURNAL_WINDOW_SECONDS: "5" };
  const first = await launch({ env });
  const { port } = new URL(first.url);
  const network = await proxy(Number(port));
  const pages = await Promise.all(["alice", "bob"].map((name) => connected(network.url, name, "msf")));
  for (let n = 0; n < 10; n++) await notify(first.url, { msg: n, channel: "b2b" });
  const backs = pages.map(({ socket }) => next(socket, "connect"));
  first.kill("SIGKILL");
  await first.exited;
  const { url } = await launch({ env: { ...env, AMPER_PORT: port } });
  await Promise.all(backs);
  await until("the window is over", async () => (await metric(url, "amper_window_entries")) === 0);
  const again = pages.map(({ socket }) => next(socket, "connect"));
  network.cut();
  await Promise.all(again);
  expect(pages.map(({ socket }) => socket.recovered)).toEqual([true, true]);
});
