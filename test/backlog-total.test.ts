import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, connected, next, notify, page, transports } from "./support/client.ts";
import { rawFrames, type RawFrames } from "./support/frames.ts";
import { proxy } from "./support/proxy.ts";
import { frame, metric, rawPolling, until, type RawPolling } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** `backlog_total_bytes`: what all connections together have not been sent yet. */

const unsent = (url: string) => metric(url, "amper_backlog_bytes");
const met = (url: string) => metric(url, 'amper_limited_total{limit="backlog_total_bytes"}');
const overloaded = '42["closing",{"code":"overloaded","reconnect":true}]';

/** Connects by hand, and reads nothing after the answer to its CONNECT. */
async function neverReading(url: string, user: string, resume: object = {}): Promise<RawFrames> {
  const { token } = await authorize(url);
  const ws = await rawFrames(url);
  ws.send(frame(1, `40${JSON.stringify({ token, keycloakID: user, channel: "msf", ...resume })}`));
  expect(String((await ws.next()).payload)).toStartWith('40{"sid":');
  ws.pause();
  return ws;
}

/** A session by polling that does not come for its messages. Its `pid` comes with the CONNECT. */
async function neverPolling(url: string, user: string, resume: object = {}): Promise<RawPolling & { pid: string }> {
  const { token } = await authorize(url);
  const polling = await rawPolling(url);
  await polling.send(`40${JSON.stringify({ token, keycloakID: user, channel: "msf", ...resume })}`);
  const pid = /"pid":"([^"]+)"/.exec(await polling.next())?.[1] ?? "";
  return { ...polling, pid };
}

async function send(url: string, keycloak: string, kilobytes: number): Promise<void> {
  for (let i = 0; i < kilobytes; i++) await notify(url, { msg: "x".repeat(1000), keycloak });
}

/** Fills a websocket until so much of what it was sent is ours to keep. */
async function fill(url: string, keycloak: string, bytes: number): Promise<void> {
  const before = await unsent(url);
  const msg = "x".repeat(20_000);
  await until("it is full", async () => {
    await notify(url, { msg, keycloak });
    return (await unsent(url)) >= before + bytes;
  });
}

describe("memory", () => {
  const readers = 150;
  const total = 8 * 2 ** 20;
  const msg = "x".repeat(60_000);
  /** With what those that were told may have besides, and what one broadcast adds. */
  const most_bytes = total * 1.25 + readers * (msg.length + 100);

  test(`of ${readers} readers that stall stays within the total, and good readers lose nothing`, async () => {
    const env = { AMPER_BACKLOG_TOTAL_BYTES: String(total), AMPER_JOURNAL_WINDOW_BYTES: "1 MiB" };
    const { url } = await launch({ env });
    const resident = () => metric(url, "process_resident_memory_bytes");
    const good = await Promise.all(
      Array.from({ length: 3 }, (_, i) => connected(url, `good${i}`, "msf", transports["websocket only"])),
    );
    for (let i = 0; i < readers; i++) await neverReading(url, `stalled${i}`);
    let sent = 0;
    const broadcast = async () => {
      await notify(url, { msg, channel: "msf" });
      sent++;
      await Promise.all(good.map(({ count }) => count(sent)));
    };
    for (let i = 0; i < 30; i++) await broadcast();
    const before = await resident();
    let most = { unsent: 0, grown: 0 };
    await until("all that stall were closed", async () => {
      await broadcast();
      most = {
        unsent: Math.max(most.unsent, await unsent(url)),
        grown: Math.max(most.grown, (await resident()) - before),
      };
      return (await metric(url, 'amper_closings_total{code="overloaded"}')) >= readers;
    });
    expect(most.unsent).toBeGreaterThan(total / 2);
    expect(most.unsent).toBeLessThan(most_bytes);
    // Bun's buffers are up to half larger than what is in them; the rest is for the collector. Unbounded, it is 270 MB.
    expect({ ...most, isBounded: most.grown < 1.5 * most_bytes + 80 * 2 ** 20 }).toMatchObject({ isBounded: true });
    expect(await met(url)).toBeGreaterThan(0);
    for (const { socket, received } of good) {
      expect(socket.connected).toBe(true);
      expect(received).toHaveLength(sent);
    }
  });
});

describe("the connection that lags most goes first", () => {
  const env = { AMPER_BACKLOG_TOTAL_BYTES: "100000" };

  test("of those that poll: it is told, what waits is still there when it comes, and the others stay", async () => {
    const { url } = await start(env);
    const alice = await neverPolling(url, "alice");
    await send(url, "alice", 21);
    const others = [];
    for (const user of ["bob", "carol", "dave", "erin"]) {
      others.push(await neverPolling(url, user));
      expect(await met(url)).toBe(0);
      await send(url, user, 20);
    }
    expect(await met(url)).toBe(1);
    expect(await metric(url, 'amper_backlog_closes_total{transport="polling"}')).toBe(1);
    const got = await alice.ended();
    expect(got.pop()).toBe(overloaded);
    expect(got).toHaveLength(21);
    for (const { next: packet } of others) {
      for (let i = 0; i < 20; i++) expect(await packet()).toStartWith('42["notification"');
    }
    expect(await unsent(url)).toBe(0);
    await send(url, "bob", 1);
    expect(await others[0]?.next()).toStartWith('42["notification"');
  });

  test("of those that were told, and have not come, there is a quarter at most", async () => {
    const { url } = await start(env);
    const users = Array.from({ length: 12 }, (_, i) => `user${i}`);
    const pollings: RawPolling[] = [];
    for (const user of users) {
      pollings.push(await neverPolling(url, user));
      await send(url, user, 20);
      expect(await unsent(url)).toBeLessThan(125_000 + 1100);
    }
    expect(await met(url)).toBe(8);
    // Four are in, one was told.
    const statuses = await Promise.all(pollings.map(async ({ poll }) => (await poll()).status));
    expect(statuses.filter((status) => status === 200)).toHaveLength(5);
  });

  for (const [name, options] of Object.entries(transports)) {
    test(`a stock client is told, comes back by itself, and has missed nothing, ${name}`, async () => {
      const total = 400_000;
      const { url } = await start({ AMPER_BACKLOG_TOTAL_BYTES: String(total), AMPER_BACKLOG_BYTES: "2 MiB" });
      const net = await proxy(Number(new URL(url).port));
      const { token } = await authorize(url);
      const alice = page(net.url, { token, keycloakID: "alice", channel: "msf" }, options);
      await next(alice.socket, "connect");
      if (name === "default transports")
        await until(
          "it has upgraded",
          async () => (await metric(url, 'amper_connections{transport="websocket"}')) === 1,
        );
      const bob = await connected(url, "bob", "msf", transports["websocket only"]);
      net.stall();
      let sent = 0;
      await until("the total is reached", async () => {
        await notify(url, { msg: { n: ++sent, pad: "x".repeat(20_000) }, channel: "msf" });
        return (await met(url)) > 0;
      });
      const closing = next(alice.socket, "closing");
      const back = next(alice.socket, "connect");
      net.resume();
      expect(await closing).toEqual({ code: "overloaded", reconnect: true });
      await back;
      expect(alice.socket.recovered).toBe(true);
      await notify(url, { msg: { n: ++sent }, channel: "msf" });
      const all = Array.from({ length: sent }, (_, i) => expect.objectContaining({ n: i + 1 }));
      expect(await alice.count(sent)).toEqual(all);
      expect(await bob.count(sent)).toEqual(all);
      expect(bob.socket.connected).toBe(true);
    });
  }
});

describe("what counts", () => {
  test("a replay that nobody reads: a client that comes back again and again has no more than the total", async () => {
    const { url } = await start({ AMPER_BACKLOG_TOTAL_BYTES: "200000" });
    const first = await neverPolling(url, "alice");
    const { id } = await notify(url, { msg: "before", keycloak: "alice" });
    await send(url, "alice", 50);
    const sessions: RawPolling[] = [];
    for (let i = 0; i < 10; i++) {
      const { token } = await authorize(url);
      const session = await rawPolling(url);
      const auth = { token, keycloakID: "alice", channel: "msf", pid: first.pid, offset: id };
      await session.send(`40${JSON.stringify(auth)}`);
      expect(await metric(url, "amper_replayed_total")).toBe(50 * (i + 1));
      expect(await unsent(url)).toBeLessThan(260_000);
      sessions.push(session);
    }
    const statuses = await Promise.all(sessions.map(async ({ poll }) => (await poll()).status));
    expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(5);
    expect(statuses.at(-1)).toBe(200);
  });

  test("a websocket that has ended: it makes way for those that have not", async () => {
    const { url } = await start({ AMPER_BACKLOG_TOTAL_BYTES: "1 MiB" });
    await neverReading(url, "alice");
    await fill(url, "alice", 500_000);
    await fetch(`${url}/connections/alice`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
    expect(await unsent(url)).toBeGreaterThan(500_000);
    await neverReading(url, "bob");
    await fill(url, "bob", 400_000);
    await until("its bytes are gone", async () => {
      await notify(url, { msg: "x".repeat(20_000), keycloak: "bob" });
      return (await unsent(url)) < 700_000;
    });
    expect(await met(url)).toBe(0);
    expect(await metric(url, "amper_users")).toBe(1);
  });

  test("a websocket that its client has closed without reading, as long as Bun keeps it: others come a little later", async () => {
    const { url } = await start({ AMPER_BACKLOG_TOTAL_BYTES: "600000" });
    let left = 0;
    for (let i = 0; left < 600_000; i++) {
      const alice = await neverReading(url, `alice${i}`);
      await until("it lags as far as it may", async () => {
        await notify(url, { msg: "x".repeat(60_000), keycloak: `alice${i}` });
        return (await unsent(url)) > Math.min(left + 250_000, 600_000);
      });
      alice.send(frame(8, ""));
      await until("it has ended", async () => (await metric(url, "amper_sessions")) === 0);
      left = await unsent(url);
    }
    const { token } = await authorize(url);
    const bob = page(url, { token, keycloakID: "bob", channel: "msf" }, transports["websocket only"]);
    await new Promise((resolve) => bob.socket.io.once("close", resolve));
    expect(bob.socket.active).toBe(true);
    await next(bob.socket, "connect");
    await until("nothing is left of them", async () => (await unsent(url)) === 0);
  });
});
