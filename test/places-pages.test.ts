import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { network } from "./chaos/network.ts";
import { authorize, next, notify, page, transports } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { placeOf, placePage, type Identity, type Places } from "./support/place-page.ts";
import { metric, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** Pages that hand in their place, with a library that knows a `pid` beside it, and with one that does not. */

const secret = "0123456789abcdef0123456789abcdef";

const libraries = { "with a pid": { knowsPid: true }, "without a pid": { knowsPid: false } };

async function identityOf(url: string, keycloakID = "alice"): Promise<Identity> {
  return { token: (await authorize(url)).token, keycloakID, channel: "msf" };
}

for (const [library, knows] of Object.entries(libraries)) {
  for (const [transport, options] of Object.entries(transports)) {
    const like = { ...options, ...knows };

    async function setUp(env: Readonly<Record<string, string>> = {}, given: Parameters<typeof start>[1] = {}) {
      const { url } = await start(env, given);
      const identity = await identityOf(url);
      const places: Places = new Map();
      const open = async () => {
        const opened = placePage(url, identity, places, like);
        await next(opened.socket, "cursor");
        return opened;
      };
      const gone = () => until("nobody is connected", async () => (await metric(url, "amper_users")) === 0);
      const send = (msg: unknown, more: object = {}) => notify(url, { msg, keycloak: "alice", ...more });
      return { url, identity, places, open, gone, send };
    }

    describe(`a page that hands in its place, ${library}, ${transport}`, () => {
      test("gets what it missed over cuts, in order, once, and never reads `socket.recovered`", async () => {
        const { url, open, gone, send } = await setUp();
        const { socket, resumed, count } = await open();
        const expected: number[] = [];
        for (let cut = 0; cut < 4; cut++) {
          socket.io.reconnection(false);
          socket.io.engine.close();
          await gone();
          for (const msg of [expected.length, expected.length + 1]) {
            expected.push(msg);
            await send(msg);
          }
          await notify(url, { msg: "elsewhere", channel: "b2b" });
          const back = next(socket, "cursor");
          socket.connect();
          await back;
          expect(socket.recovered).toBeFalsy();
          expect(await count(expected.length)).toEqual(expected);
          expected.push(expected.length);
          await send(expected.length - 1);
          await count(expected.length);
        }
        expect(resumed).toEqual([false, true, true, true, true]);
      });

      test("gets what came while it was reloaded", async () => {
        const { open, gone, send } = await setUp();
        const first = await open();
        await send(1);
        await first.count(1);
        first.socket.disconnect();
        await gone();
        await send(2);
        const second = await open();
        await send(3);
        expect(await second.count(2)).toEqual([2, 3]);
        expect([...first.resumed, ...second.resumed]).toEqual([false, true]);
      });

      test("gets everything where it is cut within its replay, again and again", async () => {
        const { open, gone, send } = await setUp();
        const { socket, cursors, events } = await open();
        socket.disconnect();
        await gone();
        const ids: string[] = [];
        for (let msg = 0; msg < 5; msg++) ids.push((await send(msg)).id);
        for (const cutAt of ["resumed", "notification", "notification", "resumed"]) {
          // A batch of a poll is in the client's own buffer by then, and may be given out to its end.
          const over = Promise.race([next(socket, "disconnect"), next(socket, "cursor")]);
          const cut = (): unknown => socket.disconnect();
          socket.once(cutAt, cut);
          socket.connect();
          await over;
          socket.off(cutAt, cut);
          socket.disconnect();
          await gone();
        }
        const back = next(socket, "cursor");
        socket.connect();
        await back;
        // Some came more than once: each replay is in order, and whole in the end.
        expect(cursors.slice(-5)).toContain(ids.at(-1));
        expect([...new Set(cursors)]).toEqual(ids);
        expect(events.at(-1)).toBe("cursor");
      });

      test("keeps a place for each user of the tab, on each channel", async () => {
        const { identity, places, open, gone, send } = await setUp();
        const tab = await open();
        await send("for alice");
        await tab.count(1);
        const become = async (names: Partial<Identity>) => {
          tab.socket.disconnect();
          await gone();
          Object.assign(identity, names);
        };
        const connect = async () => {
          const back = next(tab.socket, "cursor");
          tab.socket.connect();
          await back;
        };
        await become({ keycloakID: "bob" });
        await connect();
        await become({ channel: "b2b" });
        await connect();
        await become({ keycloakID: "alice", channel: "msf" });
        await send("missed by alice", { keycloak: ["alice", "bob"] });
        await connect();
        await become({ keycloakID: "bob" });
        await connect();
        expect(tab.resumed).toEqual([false, false, false, true, true]);
        expect(await tab.count(3)).toEqual(["for alice", "missed by alice", "missed by alice"]);
        expect([...places.keys()]).toEqual(["alice msf", "bob msf", "bob b2b"]);
      });

      test("is recovered after a short cut, although what was held for it is older than the window", async () => {
        const clock = { now_ms: Date.now() };
        const { url, open, send } = await setUp({ AMPER_PING_INTERVAL_MS: "120000" }, { now: () => clock.now_ms });
        await send("held", { ttl: 3600 });
        clock.now_ms += 301_000;
        await until("the window is empty", async () => (await metric(url, "amper_window_entries")) === 0);
        const { socket, resumed, count } = await open();
        expect(await count(1)).toEqual(["held"]);
        const back = next(socket, "cursor");
        socket.io.engine.close();
        await back;
        expect(resumed).toEqual([false, true]);
      });

      test("gets again what was handed to a connection that is half open", async () => {
        const { url, identity, places, send } = await setUp();
        const line = await network(Number(new URL(url).port));
        const first = placePage(line.url, identity, places, like);
        await next(first.socket, "cursor");
        line.stall();
        expect(await send("lost")).toMatchObject({ connections: 1 });
        const second = placePage(url, identity, places, like);
        await next(second.socket, "cursor");
        expect([first.received, second.received, second.resumed]).toEqual([[], ["lost"], [true]]);
        expect(await send("new")).toMatchObject({ connections: 2 });
        expect(await second.count(2)).toEqual(["lost", "new"]);
      });

      test("is recovered by the next process, from the same journal", async () => {
        const env = { AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
        let service = await start(env);
        const { port } = new URL(service.url);
        const { socket, resumed, count } = placePage(service.url, await identityOf(service.url), new Map(), like);
        await next(socket, "cursor");
        for (let round = 1; round <= 3; round++) {
          const back = next(socket, "cursor");
          await notify(service.url, { msg: round, keycloak: "alice" });
          await service.stop();
          service = await start({ ...env, AMPER_PORT: port });
          await back;
          expect(await count(round)).toEqual(Array.from({ length: round }, (_, i) => i + 1));
        }
        expect(resumed).toEqual([false, true, true, true]);
      });

      test("is told that a journal was lost, and recovered in the new one", async () => {
        const first = await start({ AMPER_TOKEN_SECRET: secret });
        const { port } = new URL(first.url);
        const { socket, resumed, count } = placePage(first.url, await identityOf(first.url), new Map(), like);
        await next(socket, "cursor");
        await notify(first.url, { msg: 1, keycloak: "alice" });
        await count(1);
        const told = next(socket, "cursor");
        await first.stop();
        const { url } = await start({ AMPER_TOKEN_SECRET: secret, AMPER_PORT: port });
        await told;
        const back = next(socket, "cursor");
        socket.io.engine.close();
        await back;
        await notify(url, { msg: 2, keycloak: "alice" });
        expect(await count(2)).toEqual([1, 2]);
        expect(resumed).toEqual([false, false, true]);
      });
    });
  }
}

for (const [transport, options] of Object.entries(transports)) {
  describe(`a page that hands in the same place at every connect, ${transport}`, () => {
    async function setUp(cursorOf: (url: string) => Promise<string | null>) {
      const { url } = await start();
      const cursor = await cursorOf(url);
      const opened = page(url, { ...(await identityOf(url)), cursor }, options);
      const resumed: unknown[] = [];
      opened.socket.on("resumed", ({ recovered }: { recovered: unknown }) => resumed.push(recovered));
      const send = (msg: unknown) => notify(url, { msg, keycloak: "alice" });
      const cut = async () => {
        const back = next(opened.socket, "cursor");
        opened.socket.io.engine.close();
        await back;
      };
      await next(opened.socket, "cursor");
      return { ...opened, resumed, send, cut };
    }

    test("gets nothing twice, where its library knows what it has", async () => {
      const { send, cut, count, resumed } = await setUp(async (url) => {
        const { id } = await notify(url, { msg: "known", keycloak: "alice" });
        await notify(url, { msg: 0, keycloak: "alice" });
        return id;
      });
      for (let round = 1; round <= 3; round++) {
        await cut();
        await send(round);
        await count(round + 1);
        await cut();
      }
      await send(4);
      expect(await count(5)).toEqual([0, 1, 2, 3, 4]);
      expect(resumed).toEqual([true, true, true, true, true, true, true]);
    });

    test("is recovered from its second connect on, although it says each time that it has none", async () => {
      const { send, cut, count, resumed } = await setUp(() => Promise.resolve(null));
      for (let round = 1; round <= 3; round++) {
        await send(round);
        await count(round);
        await cut();
      }
      expect(await count(3)).toEqual([1, 2, 3]);
      expect(resumed).toEqual([false, true, true, true]);
    });
  });
}

test("a page without a pid that hands in the same place each time gets all since then each time", async () => {
  const { url } = await start();
  const identity = await identityOf(url);
  const { id } = await notify(url, { msg: "known", keycloak: "alice" });
  const places: Places = new Map();
  const { socket, resumed, count } = placePage(url, identity, places, { knowsPid: false });
  const again = new Map([[placeOf(identity), id]]);
  socket.on("disconnect", () => again.forEach((place, key) => places.set(key, place)));
  await next(socket, "cursor");
  for (const [msg, soFar] of [
    [1, 1],
    [2, 3],
  ] as const) {
    await notify(url, { msg, keycloak: "alice" });
    await count(soFar);
    const back = next(socket, "cursor");
    socket.io.engine.close();
    await back;
  }
  expect(await count(5)).toEqual([1, 1, 2, 1, 2]);
  expect(resumed).toEqual([false, true, true]);
});
