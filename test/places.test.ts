import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, notify } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { connect, event, opening, upTo, type Event } from "./support/openings.ts";
import { metric, raws, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** The place that a client hands in itself, `auth.cursor`: what it gets, in which order. */

/** No heartbeat during a test: none confirms what is held. */
const silent = { AMPER_PING_INTERVAL_MS: "120000" };

const journals: Record<string, () => string> = {
  "in memory": () => "memory:",
  "in SQLite": () => `sqlite:${join(folder(), "journal.db")}`,
};

const resumed = (recovered: boolean): Event => ["resumed", { recovered }];

for (const [transport, open] of Object.entries(raws)) {
  for (const [where, journal] of Object.entries(journals)) {
    async function setUp(env: Readonly<Record<string, string>> = {}, options: Parameters<typeof start>[1] = {}) {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), ...env }, options);
      const auth = { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" };
      const send = async (msg: unknown, to: object = { keycloak: "alice" }) => (await notify(url, { msg, ...to })).id;
      /** What a client with this place gets before anything new. */
      const get = async (cursor: unknown, more: object = {}) => opening(await open(url), { ...auth, cursor, ...more });
      return { url, auth, send, get };
    }

    describe(`a client that hands in its place, ${transport}, ${where}`, () => {
      test("is told `resumed`, then what it missed, then the head, then what is new", async () => {
        const { url, auth, send } = await setUp();
        const place = await send("known");
        const ids = [await send("for her"), await send("for all", { channel: "msf" })];
        await send("for bob", { keycloak: "bob" });
        const head = await send("elsewhere", { channel: "b2b" });
        const raw = await open(url);
        await connect(raw, { ...auth, cursor: place });
        const id = await send("new");
        expect(await upTo(raw, "cursor")).toEqual([
          resumed(true),
          ["notification", "for her", ids[0]],
          ["notification", "for all", ids[1]],
          ["cursor", head],
        ]);
        expect(await event(raw)).toEqual(["notification", "new", id]);
      });

      test("is told the head although it knows it", async () => {
        const { send, get } = await setUp();
        const place = await send("known");
        expect(await get(place)).toEqual([resumed(true), ["cursor", place]]);
      });

      test("and has none yet has missed nothing, but is not recovered: it has no state", async () => {
        const { send, get } = await setUp();
        const head = await send("before");
        expect(await get(null)).toEqual([resumed(false), ["cursor", head]]);
      });

      test("gets what is held in the order of the journal, whether it has a place or not", async () => {
        const { send, get } = await setUp();
        const old = await send("old", { keycloak: "alice", ttl: 60 });
        const place = await send("known");
        const missed = await send("missed");
        const young = await send("young", { keycloak: "alice", ttl: 60 });
        expect(await get(place)).toEqual([
          resumed(true),
          ["notification", "old", old],
          ["notification", "missed", missed],
          ["notification", "young", young],
          ["cursor", young],
        ]);
        const held: Event[] = [
          ["notification", "old", old],
          ["notification", "young", young],
        ];
        expect(await get(null)).toEqual([resumed(false), ...held, ["cursor", young]]);
      });

      test("confirms nothing that is held by its place", async () => {
        const { url, send, get } = await setUp();
        const held = await send("held", { keycloak: "alice", ttl: 60 });
        const head = await send("later");
        for (let again = 0; again < 2; again++) {
          expect(await get(head)).toEqual([resumed(true), ["notification", "held", held], ["cursor", head]]);
        }
        expect(await metric(url, "amper_held")).toBe(1);
      });

      test("is not recovered from what is not a place of this journal", async () => {
        const { send, get } = await setUp();
        const head = await send("for her");
        const [epoch = "", sequence] = head.split("-");
        const odd = [
          "",
          "nonsense",
          "-",
          epoch,
          `${epoch}-`,
          `-${sequence}`,
          `${epoch}--1`,
          `${epoch}-0${sequence}`,
          `${epoch}-${sequence}x`,
          ` ${head}`,
          `${head}\n`,
          `${epoch}-1e0`,
          `${epoch}-999999`,
          `zzzz-${sequence}`,
          `${epoch}-${"9".repeat(400)}`,
          "x".repeat(3000),
          0,
          1,
          true,
          false,
          [],
          [head],
          {},
          { cursor: head },
        ];
        for (const cursor of odd)
          expect({ cursor, got: await get(cursor) }).toEqual({ cursor, got: [resumed(false), ["cursor", head]] });
      });

      test("is not recovered from beyond the window, nor over too much", async () => {
        const clock = { now_ms: Date.now() };
        const { url, send, get } = await setUp({ AMPER_BACKLOG_BYTES: "10000" }, { now: () => clock.now_ms });
        const place = await send("known");
        for (let i = 0; i < 6; i++) await send("x".repeat(1000));
        const much = await send("much");
        expect(await get(place)).toEqual([resumed(false), ["cursor", much]]);
        clock.now_ms += 301_000;
        await until("the window is empty", async () => (await metric(url, "amper_window_entries")) === 0);
        expect(await get(place)).toEqual([resumed(false), ["cursor", much]]);
        expect(await get(much)).toEqual([resumed(true), ["cursor", much]]);
      });

      test("is recovered whatever it sends for a pid and an offset that are not of its identity", async () => {
        const { url, auth, send, get } = await setUp();
        const place = await send("known");
        const missed = await send("missed");
        const bobs = await connect(await open(url), { ...auth, keycloakID: "bob" });
        for (const line of [
          { pid: bobs, offset: missed },
          { pid: "x", offset: "y" },
          { pid: 1 },
          { offset: missed },
          { offset: {} },
        ])
          expect(await get(place, line)).toEqual([
            resumed(true),
            ["notification", "missed", missed],
            ["cursor", missed],
          ]);
        expect(await notify(url, { msg: 1, keycloak: "bob" })).toMatchObject({ connections: 1 });
      });
    });

    describe(`a client that hands in its place and has a pid, ${transport}, ${where}`, () => {
      test("continues from the later of its place and its offset, and gets a new pid each time", async () => {
        const { url, auth, send } = await setUp();
        const [first, second, third] = [await send(1), await send(2), await send(3)];
        const raw = await open(url);
        const pid = await connect(raw, { ...auth, cursor: first });
        await upTo(raw, "cursor");
        const cases: [cursor: string | null, offset: string, missed: Event[]][] = [
          [first, second, [["notification", 3, third]]],
          [second, first, [["notification", 3, third]]],
          [null, second, [["notification", 3, third]]],
          [first, third, []],
          [third, first, []],
        ];
        for (const [cursor, offset, missed] of cases) {
          const back = await open(url);
          expect(await connect(back, { ...auth, cursor, pid, offset })).not.toBe(pid);
          expect(await upTo(back, "cursor")).toEqual([resumed(true), ...missed, ["cursor", third]]);
        }
      });

      test("is not recovered without a place, by its pid alone: maybe nobody has told it", async () => {
        const { url, auth, send, get } = await setUp();
        const head = await send("before");
        const pid = await connect(await open(url), { ...auth, cursor: null });
        expect(await get(null, { pid })).toEqual([resumed(false), ["cursor", head]]);
        expect(await get(null, { pid, offset: "nonsense" })).toEqual([resumed(false), ["cursor", head]]);
      });

      test("is not recovered by the pid that came with the word that it is not", async () => {
        const { url, auth, send, get } = await setUp({ AMPER_BACKLOG_BYTES: "10000" });
        const place = await send("known");
        for (let i = 0; i < 6; i++) await send("x".repeat(1000));
        const pid = await connect(await open(url), { ...auth, cursor: place });
        expect((await get(place, { pid })).at(0)).toEqual(resumed(false));
      });

      test("is not recovered where its place or its offset is in doubt", async () => {
        const { url, auth, send, get } = await setUp();
        const place = await send("known");
        const pid = await connect(await open(url), { ...auth, cursor: place });
        const offset = await send("got");
        expect((await get(place, { pid, offset: "other-3" }))[0]).toEqual(resumed(false));
        expect((await get("other-3", { pid, offset }))[0]).toEqual(resumed(false));
        expect((await get(place, { pid, offset }))[0]).toEqual(resumed(true));
      });

      test("gets the rest after a cut within its replay, with or without handing in its place", async () => {
        const { url, auth, send } = await setUp();
        const place = await send("known");
        const [first, second] = [await send(1), await send(2)];
        const raw = await open(url);
        const pid = await connect(raw, { ...auth, cursor: place });
        // The CONNECT came through, and nothing of the replay.
        const withPlace = await open(url);
        await connect(withPlace, { ...auth, cursor: place, pid });
        const all: Event[] = [
          ["notification", 1, first],
          ["notification", 2, second],
        ];
        expect(await upTo(withPlace, "cursor")).toEqual([resumed(true), ...all, ["cursor", second]]);
        const without = await open(url);
        expect(await connect(without, { ...auth, pid })).toBe(pid);
        expect([await event(without), await event(without)]).toEqual(all);
      });

      test("closes the connection that it left behind", async () => {
        const { url, auth, send, get } = await setUp();
        const place = await send("known");
        const left = await open(url);
        const pid = await connect(left, { ...auth, cursor: place });
        await upTo(left, "cursor");
        await get(place, { pid });
        await left.ended();
        expect(await notify(url, { msg: 1, keycloak: "alice" })).toMatchObject({ connections: 1 });
      });

      test("keeps its offset where the event `cursor` has brought it the same one again", async () => {
        const { url, auth, send } = await setUp();
        const place = await send("known");
        const offset = await send("got");
        let pid = await connect(await open(url), { ...auth, cursor: place });
        // As a static `auth` has it: the same place each time.
        for (let cut = 0; cut < 3; cut++) {
          const raw = await open(url);
          pid = await connect(raw, { ...auth, cursor: place, pid, offset });
          expect(await upTo(raw, "cursor")).toEqual([resumed(true), ["cursor", offset]]);
        }
      });

      test("confirms what is held by its offset, as ever", async () => {
        const { url, auth, send, get } = await setUp();
        const held = await send("held", { keycloak: "alice", ttl: 60 });
        const raw = await open(url);
        const pid = await connect(raw, { ...auth, cursor: null });
        await upTo(raw, "cursor");
        expect(await get(null, { pid, offset: held })).toEqual([resumed(true), ["cursor", held]]);
        expect(await metric(url, "amper_held")).toBe(0);
      });
    });

    test(`without the field nothing of it comes, ${transport}, ${where}`, async () => {
      const { url, auth, send } = await setUp();
      await send("before");
      const raw = await open(url);
      const pid = await connect(raw, auth);
      const first = await send("first");
      expect(await event(raw)).toEqual(["notification", "first", first]);
      const back = await open(url);
      expect(await connect(back, { ...auth, pid, offset: first })).toBe(pid);
      const second = await send("second");
      expect(await event(back)).toEqual(["notification", "second", second]);
    });
  }
}
