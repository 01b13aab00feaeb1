import { afterEach, describe, expect, test } from "bun:test";
import { Fetch, io, WebSocket, type Socket } from "socket.io-client";
import { authorize, connected, next, notify } from "./support/client.ts";
import { losingProxy, type LosingProxy } from "./support/losing-proxy.ts";
import { engineUrl, metric, noSessions, rawPolling, rawWebSocket, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/**
 * Answers to polls that are lost on their way. The clients here poll with `fetch`, which in Bun does as browsers do: it
 * repeats a request byte by byte when a connection that has served before ends without an answer.
 */

const transports = { "default transports": [Fetch, WebSocket], "polling only": [Fetch] };

const open = new Set<Socket>();
afterEach(() => {
  for (const socket of open) socket.disconnect();
  open.clear();
});

async function pageOf(proxy: LosingProxy, token: string, using: readonly (typeof Fetch | typeof WebSocket)[]) {
  // On them, the client repeats a poll whose answer is lost.
  await proxy.serve(8);
  const { url } = proxy;
  const auth = { token, keycloakID: "alice", channel: "msf" };
  const socket = io(url, { auth, forceNew: true, transports: [...using], reconnectionDelay: 20 });
  open.add(socket);
  const received: unknown[] = [];
  socket.on("notification", (msg) => received.push(msg));
  const has = (count: number) => until(`${count} notifications`, () => received.length >= count);
  return { socket, received, has };
}

for (const [name, using] of Object.entries(transports)) {
  for (const ttl of [0, 60]) {
    describe(`a notification with ttl ${ttl} in an answer that is lost, ${name}`, () => {
      async function setUp(env: Readonly<Record<string, string>> = {}) {
        const { url } = await start(env);
        const proxy = await losingProxy(url);
        proxy.holdWebSockets();
        const page = await pageOf(proxy, (await authorize(url)).token, using);
        await next(page.socket, "connect");
        const send = (msg: string) => notify(url, { msg, keycloak: "alice", ttl });
        await send("one");
        await page.has(1);
        return { url, proxy, page, send };
      }

      test("comes again, once, and before what is newer", async () => {
        const { proxy, page, send } = await setUp();
        const lost = proxy.lose('"two"');
        const back = next(page.socket, "connect");
        await send("two");
        const poll = await lost;
        for (const msg of ["three", "four"]) await send(msg);
        await back;
        proxy.releaseWebSockets();
        await page.has(4);
        expect(page.socket.recovered).toBe(true);
        await send("five");
        await page.has(5);
        expect(page.received).toEqual(["one", "two", "three", "four", "five"]);
        expect(proxy.requests.filter((line) => line === poll)).toHaveLength(2);
      });

      test("comes again although its replay is lost as well", async () => {
        const { proxy, page, send } = await setUp();
        for (const round of [1, 2, 3]) {
          const lost = proxy.lose('"two"');
          if (round === 1) await send("two");
          await lost;
        }
        await send("three");
        await page.has(3);
        expect(page.socket.recovered).toBe(true);
        expect(page.received).toEqual(["one", "two", "three"]);
      });
    });
  }

  test(`what is held is not confirmed by a client to which its answer was lost, ${name}`, async () => {
    // Heartbeats confirm what came before them: many pass while this test waits.
    const { url } = await start({ AMPER_PING_INTERVAL_MS: "100" });
    const proxy = await losingProxy(url);
    proxy.holdWebSockets();
    const { socket, received } = await pageOf(proxy, (await authorize(url)).token, using);
    await next(socket, "connect");
    socket.io.reconnection(false);
    const lost = proxy.lose('"held"');
    const gone = next(socket, "disconnect");
    await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
    await lost;
    await gone;
    expect(received).toEqual([]);
    expect(await metric(url, "amper_held")).toBe(1);
    const other = await connected(url, "alice", "msf");
    expect(await other.count(1)).toEqual(["held"]);
  });

  test(`a page whose CONNECT is lost connects all the same, ${name}`, async () => {
    const { url } = await start();
    const proxy = await losingProxy(url);
    proxy.holdWebSockets();
    const lost = proxy.lose('40{"sid"');
    const page = await pageOf(proxy, (await authorize(url)).token, using);
    const connect = next(page.socket, "connect");
    await lost;
    await connect;
    expect(await notify(url, { msg: "hello", keycloak: "alice" })).toMatchObject({ connections: 1 });
    await page.has(1);
    expect(page.received).toEqual(["hello"]);
  });
}

describe("a poll that comes again, with the same t", () => {
  const lostAnswers = (url: string) => metric(url, "amper_poll_answers_lost_total");

  test("ends the session, as soon as the first has been answered", async () => {
    const { url } = await start();
    const { opened, post } = await rawPolling(url);
    const poll = (t: string) => fetch(`${engineUrl(url, "polling", opened.sid)}&t=${t}`);
    const answer = poll("a");
    await (await post(`40{}`)).text();
    expect(await (await answer).text()).toStartWith("44");
    const again = await poll("a");
    expect(again.status).toBe(400);
    expect(await again.json()).toMatchObject({ code: "invalid_request" });
    await noSessions(url);
    expect(await lostAnswers(url)).toBe(1);
    expect((await poll("b")).status).toBe(400);
  });

  test("is no preflight, no POST and no poll of another session", async () => {
    const { url } = await start({ AMPER_PING_INTERVAL_MS: "100" });
    const [first, second] = [await rawPolling(url), await rawPolling(url)];
    const address = (sid: string) => `${engineUrl(url, "polling", sid)}&t=a`;
    for (const { sid } of [first, second]) {
      expect((await fetch(address(sid), { method: "OPTIONS" })).status).toBe(204);
      expect(await (await fetch(address(sid))).text()).toBe("2");
      expect(await (await fetch(address(sid), { method: "POST", body: "3" })).text()).toBe("ok");
      expect((await fetch(address(sid), { method: "OPTIONS" })).status).toBe(204);
    }
    expect(await metric(url, "amper_sessions")).toBe(2);
    expect(await lostAnswers(url)).toBe(0);
  });

  test("is not known from clients that send none: their sessions live on", async () => {
    const { url } = await start({ AMPER_PING_INTERVAL_MS: "100" });
    const { next: packet, send } = await rawPolling(url);
    for (let beat = 0; beat < 3; beat++) {
      expect(await packet()).toBe("2");
      await send("3");
    }
    expect(await lostAnswers(url)).toBe(0);
  });

  test("ends no session that has a websocket by now", async () => {
    const { url } = await start({ AMPER_PING_INTERVAL_MS: "100" });
    const { sid } = await rawPolling(url);
    const poll = () => fetch(`${engineUrl(url, "polling", sid)}&t=a`);
    expect(await (await poll()).text()).toBe("2");
    const ws = await rawWebSocket(engineUrl(url, "websocket", sid));
    await ws.send("2probe");
    expect(await ws.next()).toBe("3probe");
    await ws.send("5", "3");
    expect(await ws.next()).toBe("2");
    expect((await poll()).status).toBe(400);
    await ws.send("3");
    expect(await ws.next()).toBe("2");
    expect(await lostAnswers(url)).toBe(0);
  });
});
