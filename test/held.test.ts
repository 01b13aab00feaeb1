import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as fc from "fast-check";
import * as v from "valibot";
import { cursorAt } from "../src/model/cursor.ts";
import type { NotificationEntry } from "../src/model/entry.ts";
import { Channel, KeycloakId } from "../src/model/names.ts";
import { Problem } from "../src/model/problem.ts";
import { createHeld } from "../src/journal/held.ts";
import { launch } from "./support/binary.ts";
import { authorize, closePages, connected, next, notify, post, transports, type Page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { expectOfHistories } from "./support/history.ts";
import { pick } from "./support/random.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const journals = { "memory:": () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };

/** A heartbeat as often as the settings allow: what was written is confirmed at once. */
const beating = { AMPER_PING_INTERVAL_MS: "100" };
/** No heartbeat during a test. */
const silent = { AMPER_PING_INTERVAL_MS: "120000" };

const untilHeld = (url: string, count: number): Promise<void> =>
  until(`${count} are held`, async () => (await metric(url, "amper_held")) === count);

/** All that a page has, once nothing that was sent before is still on its way to it. */
async function all(url: string, page: Page, user: string): Promise<unknown[]> {
  const end = crypto.randomUUID();
  await notify(url, { msg: end, keycloak: user });
  while (!page.received.includes(end)) await page.count(page.received.length + 1);
  page.cursors.splice(page.received.indexOf(end), 1);
  page.received.splice(page.received.indexOf(end), 1);
  return page.received;
}

for (const [name, options] of Object.entries(transports)) {
  describe(`a notification with a ttl, ${name}`, () => {
    test("waits for a user who is offline: told in the receipt, in order, with the receipt's id, before what is newer", async () => {
      const { url } = await start(silent);
      const receipts = [];
      for (const msg of ["one", { two: 2 }, "three"])
        receipts.push(await notify(url, { msg, keycloak: "alice", ttl: 60 }));
      for (const receipt of receipts) expect(receipt).toMatchObject({ connections: 0, offline: ["alice"], held: true });
      expect(await metric(url, "amper_held")).toBe(3);
      const alice = await connected(url, "alice", "msf", options);
      receipts.push(await notify(url, { msg: "newer", channel: "msf" }));
      expect(await alice.count(4)).toEqual(["one", { two: 2 }, "three", "newer"]);
      expect(alice.cursors).toEqual(receipts.map(({ id }) => id));
    });

    test("is forgotten once a heartbeat that was sent after it is answered", async () => {
      const { url } = await start(beating);
      await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
      const first = await connected(url, "alice", "msf", options);
      expect(await first.count(1)).toEqual(["held"]);
      await untilHeld(url, 0);
      expect(await metric(url, 'amper_held_released_total{reason="confirmed"}')).toBe(1);
      const second = await connected(url, "alice", "msf", options);
      expect(await all(url, second, "alice")).toEqual([]);
      expect(await all(url, first, "alice")).toHaveLength(2);
    });

    test("is not held: true where all are online; but who opens a page before a heartbeat confirms it gets it too", async () => {
      const { url } = await start(silent);
      const first = await connected(url, "alice", "msf", options);
      const receipt = await notify(url, { msg: "live", keycloak: "alice", ttl: 60 });
      expect(receipt).toMatchObject({ connections: 1, offline: [], held: false });
      expect(await first.count(1)).toEqual(["live"]);
      const second = await connected(url, "alice", "b2b", options);
      expect(await second.count(1)).toEqual(["live"]);
      expect(second.cursors).toEqual([receipt.id]);
      expect(await all(url, first, "alice")).toEqual(["live"]);
    });

    test("is forgotten when the client comes back with its cursor, or a later one", async () => {
      const { url } = await start(silent);
      await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
      const first = await connected(url, "alice", "msf", options);
      await first.count(1);
      expect(await metric(url, "amper_held")).toBe(1);
      first.socket.io.engine.close();
      await next(first.socket, "connect");
      expect(first.socket.recovered).toBe(true);
      expect(await metric(url, "amper_held")).toBe(0);
      await notify(url, { msg: "another", keycloak: "alice", ttl: 60 });
      await notify(url, { msg: "later", channel: "msf" });
      expect(await first.count(3)).toEqual(["held", "another", "later"]);
      first.socket.disconnect().connect();
      await next(first.socket, "connect");
      expect(await metric(url, "amper_held")).toBe(0);
      const second = await connected(url, "alice", "msf", options);
      expect(await all(url, second, "alice")).toEqual([]);
    });

    test("comes once, in its place, to a client that missed it together with others", async () => {
      const { url } = await start(silent);
      const { socket, count, received } = await connected(url, "alice", "msf", options);
      await notify(url, { msg: 1, keycloak: "alice" });
      await count(1);
      socket.disconnect();
      await until("the user is gone", async () => (await metric(url, "amper_users")) === 0);
      await notify(url, { msg: 2, channel: "msf" });
      await notify(url, { msg: 3, keycloak: "alice", ttl: 60 });
      await notify(url, { msg: 4, keycloak: "alice" });
      socket.connect();
      await next(socket, "connect");
      expect(socket.recovered).toBe(true);
      await notify(url, { msg: 5, keycloak: "alice", ttl: 60 });
      await count(5);
      await notify(url, { msg: "end", keycloak: "alice" });
      expect(await count(6)).toEqual([1, 2, 3, 4, 5, "end"]);
      expect(received).toHaveLength(6);
    });
  });
}

describe("for whom it is held", () => {
  test("for a user on the channel that was named, and on no other", async () => {
    const { url } = await start(silent);
    const elsewhere = await connected(url, "alice", "msf");
    const receipt = await notify(url, { msg: "b2b only", keycloak: "alice", channel: ["b2b", "admin"], ttl: 60 });
    expect(receipt).toMatchObject({ connections: 0, offline: ["alice"], held: true });
    const again = await connected(url, "alice", "msf");
    const there = await connected(url, "alice", "b2b");
    expect(await there.count(1)).toEqual(["b2b only"]);
    expect(await all(url, again, "alice")).toEqual([]);
    expect(await all(url, elsewhere, "alice")).toHaveLength(1);
  });

  test("a heartbeat on another channel does not confirm it", async () => {
    const { url } = await start(beating);
    await connected(url, "alice", "msf");
    await notify(url, { msg: "b2b only", keycloak: "alice", channel: "b2b", ttl: 60 });
    await notify(url, { msg: "anywhere", keycloak: "alice", ttl: 60 });
    // The second one is confirmed on msf, with a cursor beyond that of the first.
    await untilHeld(url, 1);
    const there = await connected(url, "alice", "b2b");
    expect(await all(url, there, "alice")).toEqual(["b2b only"]);
  });

  test("until a heartbeat that was sent after it is answered: the late answer to an earlier one confirms nothing", async () => {
    const { url } = await start(beating);
    const { token } = await authorize(url);
    let engine = `${url}/socket.io/?EIO=4&transport=polling`;
    let packets: string[] = [];
    const send = (body: string) => fetch(engine, { method: "POST", body });
    /** The next packet, from a poll where none is left of the last one. */
    async function packet(): Promise<string> {
      while (packets.length === 0) packets = (await (await fetch(engine)).text()).split("\u001e");
      return packets.shift() ?? "";
    }
    const { sid } = v.parse(v.object({ sid: v.string() }), JSON.parse((await packet()).slice(1)));
    engine += `&sid=${sid}`;
    await send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
    expect(await packet()).toStartWith("40");
    expect(await packet()).toBe("2");
    await notify(url, { msg: "after the heartbeat", keycloak: "alice", ttl: 60 });
    expect(await packet()).toStartWith('42["notification","after the heartbeat"');
    await send("3");
    expect(await packet()).toBe("2");
    expect(await metric(url, "amper_held")).toBe(1);
    await send("3");
    await untilHeld(url, 0);
  });

  test("within what the key may reach", async () => {
    const toml = "[api_keys.scoped]\nkey = 'scoped-key-0123456789'\nchannels = ['msf']";
    const { url } = await start(silent, { toml });
    const API_KEY = "scoped-key-0123456789";
    expect(await notify(url, { API_KEY, msg: "msf only", keycloak: "alice", ttl: 60 })).toMatchObject({ held: true });
    const outside = await connected(url, "alice", "b2b");
    const inside = await connected(url, "alice", "msf");
    expect(await inside.count(1)).toEqual(["msf only"]);
    expect(await metric(url, "amper_held")).toBe(1);
    outside.socket.disconnect();
    expect(outside.received).toEqual([]);
  });

  test("several users, one of them online: each gets it, and each is forgotten for himself", async () => {
    const { url } = await start(beating);
    const alice = await connected(url, "alice", "msf");
    const receipt = await notify(url, { msg: "all", keycloak: ["alice", "bob", "carol"], ttl: 60 });
    expect(receipt).toMatchObject({ connections: 1, offline: ["bob", "carol"], held: true });
    expect(await alice.count(1)).toEqual(["all"]);
    await untilHeld(url, 2);
    const bob = await connected(url, "bob", "msf");
    expect(await bob.count(1)).toEqual(["all"]);
    expect(bob.cursors).toEqual([receipt.id]);
    await untilHeld(url, 1);
    const carol = await connected(url, "carol", "b2b");
    expect(await carol.count(1)).toEqual(["all"]);
    await untilHeld(url, 0);
    expect(await all(url, alice, "alice")).toEqual(["all"]);
  });

  test("for nobody without a ttl, or with a ttl of 0", async () => {
    const { url } = await start(silent);
    expect(await notify(url, { msg: "now or never", keycloak: "alice" })).toMatchObject({ held: false });
    expect(await notify(url, { msg: "the same", keycloak: "alice", ttl: 0 })).toMatchObject({ held: false });
    expect(await metric(url, "amper_held")).toBe(0);
    const alice = await connected(url, "alice", "msf");
    expect(await all(url, alice, "alice")).toEqual([]);
  });

  test("for his ttl, and no longer", async () => {
    let now_ms = Date.now();
    const { url } = await start(silent, { now: () => now_ms });
    await notify(url, { msg: "a minute", keycloak: "alice", ttl: 60 });
    await notify(url, { msg: "two minutes", keycloak: "alice", ttl: 120 });
    now_ms += 59_999;
    const first = await connected(url, "alice", "msf");
    expect(await first.count(2)).toEqual(["a minute", "two minutes"]);
    now_ms += 1;
    const second = await connected(url, "alice", "msf");
    expect(await second.count(1)).toEqual(["two minutes"]);
    await untilHeld(url, 1);
    now_ms += 60_000;
    const third = await connected(url, "alice", "msf");
    expect(await all(url, third, "alice")).toEqual([]);
    await untilHeld(url, 0);
    expect(await metric(url, 'amper_held_released_total{reason="expired"}')).toBe(2);
    expect(await metric(url, "amper_held_bytes")).toBe(0);
  });
});

describe("held over a restart", () => {
  test("in order, with the same cursor, until it is confirmed, and not any more afterwards", async () => {
    const env = { ...beating, AMPER_JOURNAL: journals.sqlite() };
    const first = await start(env);
    await connected(first.url, "bob", "msf");
    const receipts = [
      await notify(first.url, { msg: 1, keycloak: ["alice", "bob"], ttl: 60 }),
      await notify(first.url, { msg: 2, keycloak: "alice", channel: "msf", ttl: 60 }),
    ];
    // Bob has it, and his part must not come back.
    await untilHeld(first.url, 2);
    await first.stop();
    closePages();

    const second = await start(env);
    expect(await metric(second.url, "amper_held")).toBe(2);
    expect(await all(second.url, await connected(second.url, "bob", "msf"), "bob")).toEqual([]);
    const alice = await connected(second.url, "alice", "msf");
    expect(await alice.count(2)).toEqual([1, 2]);
    expect(alice.cursors).toEqual(receipts.map(({ id }) => id));
    await untilHeld(second.url, 0);
    await second.stop();
    closePages();

    const third = await start(env);
    expect(await metric(third.url, "amper_held")).toBe(0);
    expect(await all(third.url, await connected(third.url, "alice", "msf"), "alice")).toEqual([]);
  });

  test("that is longer than the window: what is held outlives the rest", async () => {
    let now_ms = Date.now();
    const env = { ...silent, AMPER_JOURNAL: journals.sqlite(), AMPER_JOURNAL_WINDOW_SECONDS: "10" };
    const first = await start(env, { now: () => now_ms });
    const { id } = await notify(first.url, { msg: "held", keycloak: "alice", ttl: 3600 });
    await notify(first.url, { msg: "not held", keycloak: "alice" });
    now_ms += 600_000;
    await until("the window is empty", async () => (await metric(first.url, "amper_window_entries")) === 0);
    await first.stop();
    now_ms += 600_000;
    const second = await start(env, { now: () => now_ms });
    const alice = await connected(second.url, "alice", "msf");
    expect(await all(second.url, alice, "alice")).toEqual(["held"]);
    expect(alice.cursors).toEqual([id]);
    await second.stop();
    closePages();
    now_ms += 2_400_000;
    const third = await start(env, { now: () => now_ms });
    expect(await all(third.url, await connected(third.url, "alice", "msf"), "alice")).toEqual([]);
  });

  test("after kill -9", async () => {
    const env = { ...silent, AMPER_JOURNAL: journals.sqlite() };
    const first = await launch({ env });
    const { id, held } = await notify(first.url, { msg: "held", keycloak: "alice", ttl: 60 });
    expect(held).toBe(true);
    first.kill("SIGKILL");
    await first.exited;
    const second = await launch({ env });
    const alice = await connected(second.url, "alice", "msf");
    await notify(second.url, { msg: "newer", keycloak: "alice" });
    expect(await alice.count(2)).toEqual(["held", "newer"]);
    expect(alice.cursors[0]).toBe(id);
  });
});

for (const [name, journal] of Object.entries(journals)) {
  describe(`limits, ${name}`, () => {
    const hold = (url: string, msg: unknown, keycloak: string | string[]) =>
      post(url, { API_KEY: apiKey, msg, keycloak, ttl: 60 });

    async function expectFull(response: Response): Promise<void> {
      expect(response.headers.get("retry-after")).toMatch(/^\d+$/);
      await expectProblem(response, "held_full");
    }

    test("max_held_per_user: 429, nothing is dropped, and there is room again once he has fetched it", async () => {
      const { url } = await start({ ...beating, AMPER_JOURNAL: journal(), AMPER_MAX_HELD_PER_USER: "2" });
      for (const msg of [1, 2]) expect((await hold(url, msg, "alice")).status).toBe(200);
      await expectFull(await hold(url, 3, "alice"));
      // Not for the others on the list either: a request is accepted as a whole, or not at all.
      await expectFull(await hold(url, 3, ["bob", "alice"]));
      expect(await metric(url, "amper_held")).toBe(2);
      expect((await hold(url, "his own", "bob")).status).toBe(200);
      // Without a ttl nothing has to be held.
      await notify(url, { msg: "not held", keycloak: "alice" });
      const alice = await connected(url, "alice", "msf");
      expect(await alice.count(2)).toEqual([1, 2]);
      await untilHeld(url, 1);
      expect((await hold(url, 4, "alice")).status).toBe(200);
      expect(await all(url, alice, "alice")).toEqual([1, 2, 4]);
    });

    test("what is refused is not sent to those who are online", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_MAX_HELD_PER_USER: "1" });
      const alice = await connected(url, "alice", "msf");
      expect((await hold(url, "taken", ["alice", "bob"])).status).toBe(200);
      await expectFull(await hold(url, "refused", ["alice", "bob"]));
      expect(await all(url, alice, "alice")).toEqual(["taken"]);
    });

    test("max_held: each user of a list counts", async () => {
      const { url } = await start({ ...beating, AMPER_JOURNAL: journal(), AMPER_MAX_HELD: "3" });
      expect((await hold(url, 1, ["alice", "bob"])).status).toBe(200);
      await expectFull(await hold(url, 2, ["alice", "bob"]));
      expect((await hold(url, 3, "carol")).status).toBe(200);
      await expectFull(await hold(url, 4, "dave"));
      expect(await (await connected(url, "bob", "msf")).count(1)).toEqual([1]);
      await untilHeld(url, 2);
      expect((await hold(url, 5, "dave")).status).toBe(200);
    });

    test("max_held_bytes: a message counts for each user of a list", async () => {
      const { url } = await start({ ...beating, AMPER_JOURNAL: journal(), AMPER_MAX_HELD_BYTES: "3000" });
      const msg = "x".repeat(998);
      expect((await hold(url, msg, ["alice", "bob"])).status).toBe(200);
      expect(await metric(url, "amper_held_bytes")).toBe(2000);
      await expectFull(await hold(url, `${msg}x`, "carol"));
      await expectFull(await hold(url, "x".repeat(499), ["carol", "dave"]));
      expect((await hold(url, msg, "carol")).status).toBe(200);
      await expectFull(await hold(url, 0, "dave"));
      expect(await (await connected(url, "bob", "msf")).count(1)).toEqual([msg]);
      await until("2,000 bytes are held", async () => (await metric(url, "amper_held_bytes")) === 2000);
      expect((await hold(url, msg, "dave")).status).toBe(200);
    });

    test("a quarter of backlog_bytes for one user, so that all of it fits into one burst", async () => {
      const { url } = await start({ ...beating, AMPER_JOURNAL: journal(), AMPER_BACKLOG_BYTES: "8000" });
      const msg = "x".repeat(998);
      expect((await hold(url, msg, "alice")).status).toBe(200);
      expect((await hold(url, msg, ["alice", "bob"])).status).toBe(200);
      await expectFull(await hold(url, 0, "alice"));
      expect((await hold(url, msg, "bob")).status).toBe(200);
      expect(await (await connected(url, "alice", "msf")).count(2)).toEqual([msg, msg]);
      await untilHeld(url, 2);
      expect((await hold(url, msg, "alice")).status).toBe(200);
    });

    test("not one more when many come at once", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_MAX_HELD_PER_USER: "5" });
      const requests = Array.from({ length: 40 }, (_, msg) => hold(url, msg, "alice"));
      const statuses = (await Promise.all(requests)).map(({ status }) => status);
      expect(statuses.filter((status) => status === 200)).toHaveLength(5);
      expect(statuses.filter((status) => status === 429)).toHaveLength(35);
      expect(await metric(url, "amper_held")).toBe(5);
      const alice = await connected(url, "alice", "msf");
      expect(await all(url, alice, "alice")).toHaveLength(5);
    });
  });
}

describe("the shelf", () => {
  const users = ["alice", "bob", "carol"].map((name) => v.parse(KeycloakId, name));
  const channels = ["msf", "b2b"].map((name) => v.parse(Channel, name));

  type Release = (user: KeycloakId, sequences: readonly number[], why: "confirmed" | "expired") => void;

  /** Held notifications by themselves: the journal and the events only tell what is released. */
  function heldWith(
    limits: { perUser: number; bytesPerUser: number; total: number; totalBytes: number },
    { now = () => 0, release = () => {} }: { now?: () => number; release?: Release } = {},
  ) {
    const settings = {
      max_held_per_user: limits.perUser,
      backlog_bytes: limits.bytesPerUser * 4,
      max_held: limits.total,
      max_held_bytes: limits.totalBytes,
    };
    const last: { user: KeycloakId; sequences: readonly number[] }[] = [];
    const journal = {
      history: { held: [] },
      uptime_ms: now,
      release: (user: KeycloakId, sequences: readonly number[]) => void last.push({ user, sequences }),
    };
    const released = (why: "confirmed" | "expired") => {
      for (const { user, sequences } of last.splice(0)) release(user, sequences, why);
    };
    return createHeld(settings, { journal, events: { released }, now });
  }

  interface Item {
    readonly user: KeycloakId;
    readonly entry: NotificationEntry;
  }

  const step = fc.record({
    // Often whole seconds, as what is held ends after so many.
    passes_ms: fc.oneof(fc.constantFrom(0, 1000, 2000), fc.nat(2000)),
    act: fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          named: fc.shuffledSubarray(users, { minLength: 1 }),
          within: fc.option(
            fc.constantFrom(...channels).map((channel) => [channel]),
            { nil: undefined },
          ),
          length: fc.nat(120),
          ttl_seconds: fc.integer({ min: 1, max: 30 }),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          user: fc.constantFrom(...users),
          channel: fc.constantFrom(...channels),
          /** Up to the entry so many before the last. */
          back: fc.nat(20),
        }),
      },
      { weight: 1, arbitrary: fc.constant("expire") },
    ),
  });

  test("agrees with a list that is searched from end to end, whatever happens", () => {
    const limits = { perUser: 5, bytesPerUser: 300, total: 12, totalBytes: 700 };
    const isFor = ({ entry }: Item, channel: Channel) => entry.target.channels?.includes(channel) ?? true;
    const until_ms = ({ entry }: Item) => entry.time_ms + entry.ttl_seconds * 1000;
    const bytesOf = (list: readonly Item[]) => list.reduce((sum, { entry }) => sum + entry.json.length, 0);
    const seen = { taken: 0, refused: 0, confirmed: 0, expired: 0 };

    expectOfHistories(step, 100, (steps) => {
      let now_ms = 1_000_000;
      let items: Item[] = [];
      let released: string[] = [];
      const held = heldWith(limits, {
        now: () => now_ms,
        release: (user, sequences, why) => released.push(...sequences.map((sequence) => `${user} ${sequence} ${why}`)),
      });

      function expectReleased(which: (item: Item) => boolean, why: "confirmed" | "expired"): void {
        const gone = items.filter(which);
        items = items.filter((item) => !which(item));
        expect(released.toSorted()).toEqual(
          gone.map(({ user, entry }) => `${user} ${entry.sequence} ${why}`).toSorted(),
        );
        seen[why] += gone.length;
        released = [];
      }

      function fits(named: readonly KeycloakId[], size: number): boolean {
        const shelves = named.map((user) => items.filter((item) => item.user === user));
        return (
          items.length + named.length <= limits.total &&
          bytesOf(items) + named.length * size <= limits.totalBytes &&
          shelves.every((shelf) => shelf.length < limits.perUser && bytesOf(shelf) + size <= limits.bytesPerUser)
        );
      }

      /** What `reserve` gives back, or undefined where it refuses. */
      function reserve(named: readonly KeycloakId[], size: number): (() => void) | undefined {
        try {
          return held.reserve(named, size);
        } catch (error) {
          expect(error instanceof Problem && error.code).toBe("held_full");
          return undefined;
        }
      }

      for (const [i, { passes_ms, act }] of steps.entries()) {
        const sequence = i + 1;
        now_ms += passes_ms;
        if (act === "expire") {
          held.expire();
          expectReleased((item) => until_ms(item) <= now_ms, "expired");
        } else if ("back" in act) {
          const { user, channel } = act;
          const upTo = sequence - act.back;
          held.confirm(user, channel, upTo);
          expectReleased(
            (item) => item.user === user && item.entry.sequence <= upTo && isFor(item, channel),
            "confirmed",
          );
        } else {
          const { named, within, length, ttl_seconds } = act;
          const json = JSON.stringify("x".repeat(length));
          const giveBack = reserve(named, json.length);
          expect([sequence, giveBack !== undefined]).toEqual([sequence, fits(named, json.length)]);
          seen[giveBack === undefined ? "refused" : "taken"]++;
          if (giveBack !== undefined) {
            const place = { sequence, cursor: cursorAt("e", sequence), time_ms: now_ms, uptime_ms: now_ms };
            const target = { users: named, channels: within };
            const entry = { kind: "notification", target, json, ttl_seconds, ...place } as const;
            held.add(entry);
            giveBack();
            items.push(...named.map((user) => ({ user, entry })));
          }
        }
        for (const user of users) {
          const shelf = items.filter((item) => item.user === user);
          for (const channel of channels) {
            const waiting = shelf.filter((item) => isFor(item, channel) && until_ms(item) > now_ms);
            expect(held.waiting(user, channel)).toEqual(waiting.map(({ entry }) => entry));
          }
        }
        expect([held.count, held.bytes]).toEqual([items.length, bytesOf(items)]);
      }
    });
    // Histories that never came by a rule have not tested it.
    for (const [what, times] of Object.entries(seen)) expect([what, times > 20]).toEqual([what, true]);
  });

  test("what is on its way into the journal counts, until it is on the shelf or has failed", () => {
    const held = heldWith({ perUser: 2, bytesPerUser: 100, total: 3, totalBytes: 150 });
    const [alice, bob] = [pick(() => 0, users), pick(() => 0.5, users)];
    const full = expect.objectContaining({ code: "held_full" });
    const first = held.reserve([alice, bob], 40);
    expect(() => held.reserve([alice], 61)).toThrow(full);
    const second = held.reserve([alice], 60);
    expect(() => held.reserve([alice], 0)).toThrow(full);
    expect(() => held.reserve([bob], 0)).toThrow(full);
    second();
    expect(() => held.reserve([bob], 61)).toThrow(full);
    held.reserve([bob], 60)();
    first();
    held.reserve([alice], 100)();
    expect([held.count, held.bytes]).toEqual([0, 0]);
  });

  test("a notification that was held before a restart is held for those who have not got it yet", () => {
    const released: number[] = [];
    const held = heldWith(
      { perUser: 10, bytesPerUser: 1000, total: 10, totalBytes: 1000 },
      { release: (_user, sequences) => released.push(...sequences) },
    );
    const [alice, bob] = [pick(() => 0, users), pick(() => 0.5, users)];
    const msf = pick(() => 0, channels);
    const target = { users: [alice, bob] };
    const place = { sequence: 7, cursor: cursorAt("e", 7), time_ms: 0, uptime_ms: 0 };
    held.add({ kind: "notification", target, json: "1", ttl_seconds: 60, ...place }, [bob]);
    expect([held.waiting(alice, msf).length, held.waiting(bob, msf).length]).toEqual([0, 1]);
    expect([held.count, held.bytes]).toEqual([1, 1]);
  });
});
