import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { launch } from "./support/binary.ts";
import { authorize, connected, next, notify, page, post, transports, type Options } from "./support/client.ts";
import { rawFrames, type RawFrames } from "./support/frames.ts";
import { proxy, type Proxy } from "./support/proxy.ts";
import { pick, seeded } from "./support/random.ts";
import { frame, metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const closes = (url: string, transport: "polling" | "websocket") =>
  metric(url, `amper_backlog_closes_total{transport="${transport}"}`);

async function connections(url: string): Promise<number> {
  const response = await fetch(`${url}/connections`, { headers: { "X-API-Key": apiKey } });
  return v.parse(v.object({ connections: v.number() }), await response.json()).connections;
}

/** Connects by hand, waits for its CONNECT to be answered, and reads nothing from then on. */
async function neverReading(url: string, user: string, channel: string): Promise<RawFrames> {
  const { token } = await authorize(url);
  const ws = await rawFrames(url);
  ws.send(frame(1, `40${JSON.stringify({ token, keycloakID: user, channel })}`));
  expect(String((await ws.next()).payload)).toStartWith('40{"sid":');
  ws.pause();
  return ws;
}

/** A network between stock clients and the service. */
const networkOf = (url: string): Promise<Proxy> => proxy(Number(new URL(url).port));

const backlogBytes = 256 * 1024;
const small = { AMPER_BACKLOG_BYTES: String(backlogBytes) };
const padding = "x".repeat(50_000);

/** Numbers of the messages that were sent, and of those that came. */
const Numbered = v.object({ n: v.number() });
const numberOf = (msg: unknown) => v.parse(Numbered, msg).n;
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Notifies one after the other, so that their numbers are in the order of the journal. */
async function sendEach(url: string, target: object, which: readonly number[], pad = ""): Promise<void> {
  for (const n of which) await notify(url, { msg: { n, pad }, ...target });
}

/** Notifies until the condition is met, some at once, and returns how many it took. */
async function flood(
  url: string,
  target: { channel: string } | { keycloak: string },
  ended: () => Promise<boolean>,
  { from = 1, atOnce = 1, pad = padding } = {},
): Promise<number> {
  let last = from - 1;
  do {
    const batch = numbers(last + 1, last + atOnce);
    await Promise.all(batch.map((n) => notify(url, { msg: { n, pad }, ...target })));
    last += atOnce;
    if (last > 200_000) throw new Error("it does not end");
  } while (!(await ended()));
  return last;
}

describe("a reader that never reads", () => {
  test("is closed, while five hundred others get everything; the memory of the service stays bounded", async () => {
    const { url } = await launch({ env: { ...small, AMPER_JOURNAL_WINDOW_BYTES: "1 MiB" } });
    const others = await Promise.all(
      numbers(1, 500).map((i) => connected(url, `user${i}`, "msf", transports["websocket only"])),
    );
    await neverReading(url, "alice", "msf");
    // Once, so that what every connection needs is there before it is measured.
    const warm = 10;
    await sendEach(url, { channel: "msf" }, numbers(1, warm), padding);
    await Promise.all(others.map(({ count }) => count(warm)));
    const before_bytes = await metric(url, "process_resident_memory_bytes");
    let most_bytes = 0;
    const last = await flood(
      url,
      { channel: "msf" },
      async () => {
        most_bytes = Math.max(most_bytes, await metric(url, "process_resident_memory_bytes"));
        return (await closes(url, "websocket")) > 0;
      },
      { from: warm + 1 },
    );
    for (const { received, count } of others) {
      await count(last);
      expect(received.map(numberOf)).toEqual(numbers(1, last));
    }
    expect(await connections(url)).toBe(500);
    expect(await metric(url, "amper_sessions")).toBe(500);
    expect(await closes(url, "websocket")).toBe(1);
    expect(await metric(url, 'amper_closings_total{code="overloaded"}')).toBe(1);
    for (const { socket } of others) expect(socket.connected).toBe(true);
    // It took this much to fill the kernel and the backlog; the service keeps the backlog and the window.
    const sent_bytes = last * padding.length;
    expect(sent_bytes).toBeGreaterThan(backlogBytes);
    expect({ grown_bytes: most_bytes - before_bytes, isBounded: most_bytes - before_bytes < 64 * 1024 * 1024 }).toEqual(
      expect.objectContaining({ isBounded: true }),
    );
  });

  const ways: Record<string, { target: { channel: string } | { keycloak: string }; atOnce: number; pad: string }> = {
    "what comes is for him alone": { target: { keycloak: "alice" }, atOnce: 1, pad: padding },
    "what comes is for all": { target: { channel: "msf" }, atOnce: 1, pad: padding },
    "many small ones come at once": { target: { channel: "msf" }, atOnce: 40, pad: "x".repeat(4000) },
    "many small ones come at once for him alone": { target: { keycloak: "alice" }, atOnce: 40, pad: "x".repeat(4000) },
    // Bun puts these together before it looks at the backlog.
    "two of middle size come at once": { target: { channel: "msf" }, atOnce: 2, pad: "x".repeat(15_000) },
    "twenty of middle size come at once": { target: { channel: "msf" }, atOnce: 20, pad: "x".repeat(15_000) },
  };
  for (const [way, { target, ...how }] of Object.entries(ways)) {
    test(`is closed once, and counted once, when ${way}`, async () => {
      const { url } = await start(small);
      const bob = await connected(url, "bob", "msf", transports["websocket only"]);
      await neverReading(url, "alice", "msf");
      expect(await connections(url)).toBe(2);
      const last = await flood(url, target, async () => (await connections(url)) === 1, how);
      expect(await closes(url, "websocket")).toBe(1);
      await sendEach(url, target, numbers(last + 1, last + 3), padding);
      expect(await closes(url, "websocket")).toBe(1);
      expect(await closes(url, "polling")).toBe(0);
      expect(bob.socket.connected).toBe(true);
    });
  }

  test("is the only one to be counted: not one that goes, is cut, or times out", async () => {
    const patient = await start(small);
    const goes = await connected(patient.url, "alice", "msf", transports["websocket only"]);
    const cut = await neverReading(patient.url, "bob", "msf");
    const quick = await start({ ...small, AMPER_PING_INTERVAL_MS: "100", AMPER_PING_TIMEOUT_MS: "100" });
    await neverReading(quick.url, "carol", "msf");
    for (const { url } of [patient, quick]) await sendEach(url, { channel: "msf" }, numbers(1, 3), padding);
    goes.socket.disconnect();
    cut.cut();
    for (const { url } of [patient, quick]) {
      await until("all are gone", async () => (await connections(url)) === 0);
      expect(await closes(url, "websocket")).toBe(0);
    }
    expect(await metric(quick.url, 'amper_disconnects_total{reason="ping timeout"}')).toBe(1);
  });
});

describe("a polling client that does not come for its messages", () => {
  test("is closed; what waits for it is bounded by the backlog, and still there when it comes", async () => {
    const { url } = await start(small);
    const { token } = await authorize(url);
    const engine = `${url}/socket.io/?EIO=4&transport=polling`;
    const opened = await (await fetch(engine)).text();
    const { sid } = v.parse(v.object({ sid: v.string() }), JSON.parse(opened.slice(1)));
    const poll = async () => (await fetch(`${engine}&sid=${sid}`)).text();
    const auth = JSON.stringify({ token, keycloakID: "alice", channel: "msf" });
    await fetch(`${engine}&sid=${sid}`, { method: "POST", body: `40${auth}` });
    expect(await poll()).toStartWith("40");
    const bob = await connected(url, "bob", "msf", transports["websocket only"]);
    const last = await flood(url, { channel: "msf" }, async () => (await connections(url)) === 1, {
      pad: "x".repeat(9000),
    });
    expect(await closes(url, "polling")).toBe(1);
    expect(await closes(url, "websocket")).toBe(0);
    await sendEach(url, { channel: "msf" }, numbers(last + 1, last + 50), padding);
    expect(await bob.count(last + 50)).toHaveLength(last + 50);
    const packets = (await poll()).split("\u001e");
    expect(packets.join().length).toBeLessThan(backlogBytes + 10_000);
    expect(packets.pop()).toBe('42["closing",{"code":"overloaded","reconnect":true}]');
    const got = packets.map((packet) =>
      v.parse(v.tuple([v.string(), Numbered, v.string()]), JSON.parse(packet.slice(2))),
    );
    expect(got.map(([, { n }]) => n)).toEqual(numbers(1, last));
    expect((await fetch(`${engine}&sid=${sid}`)).status).toBe(400);
    expect(await metric(url, "amper_sessions")).toBe(1);
  });
});

for (const [name, options] of Object.entries(transports)) {
  describe(`a stock client whose network stalls, ${name}`, () => {
    const transport = name === "polling only" ? "polling" : "websocket";

    async function stalling(env: Record<string, string> = {}) {
      const { url } = await start({ ...small, ...env });
      const net = await networkOf(url);
      const { token } = await authorize(url);
      const alice = page(net.url, { token, keycloakID: "alice", channel: "msf" }, options);
      await next(alice.socket, "connect");
      if (name === "default transports") {
        await until("the client has upgraded", () => alice.socket.io.engine.transport.name === "websocket");
        await until(
          "the server has upgraded",
          async () => (await metric(url, 'amper_connections{transport="websocket"}')) === 1,
        );
      }
      await notify(url, { msg: { n: 1 }, keycloak: "alice" });
      await alice.count(1);
      return { url, net, alice };
    }

    test("and soon goes on: it is told why it is closed, comes back by itself, and misses nothing", async () => {
      const { url, net, alice } = await stalling();
      net.stall();
      const isClosed = async () => (await connections(url)) === 0;
      const last = await flood(url, { channel: "msf" }, isClosed, { from: 2, pad: "x".repeat(9000) });
      expect(await closes(url, transport)).toBe(1);
      // Not in what was written to it: it has to be replayed.
      const end = last + 5;
      await sendEach(url, { channel: "msf" }, numbers(last + 1, end));
      const closing = next(alice.socket, "closing");
      const back = next(alice.socket, "connect");
      net.resume();
      expect(await closing).toEqual({ code: "overloaded", reconnect: true });
      await back;
      expect(alice.socket.recovered).toBe(true);
      await notify(url, { msg: { n: end + 1 }, keycloak: "alice" });
      expect((await alice.count(end + 1)).map(numberOf)).toEqual(numbers(1, end + 1));
    });

    test("and is cut: what was on its way is more than can be replayed, so it is told that it has a gap", async () => {
      const { url, net, alice } = await stalling();
      net.stall();
      const isClosed = async () => (await connections(url)) === 0;
      const last = await flood(url, { channel: "msf" }, isClosed, { from: 2, pad: "x".repeat(9000) });
      const back = next(alice.socket, "connect");
      net.cut();
      await back;
      expect(alice.socket.recovered).toBe(false);
      expect(await metric(url, 'amper_connections_not_recovered_total{cause="too_much"}')).toBe(1);
      await notify(url, { msg: { n: last + 1 }, keycloak: "alice" });
      await until("the newest has come", () => alice.received.map(numberOf).includes(last + 1));
      const got = alice.received.map(numberOf);
      // Without a hole up to the cut, and nothing between that and what came after it was back.
      expect(got).toEqual([...numbers(1, got.length - 1), last + 1]);
    });

    test("so many small ones that their frames exceed the backlog are a gap, and the client is told", async () => {
      const { url, alice } = await stalling({ AMPER_BACKLOG_BYTES: "20000" });
      alice.socket.disconnect();
      await until("it is gone", async () => (await connections(url)) === 0);
      // 8 KB of JSON, but 40 KB of frames.
      const last = 501;
      await sendEach(url, { channel: "msf" }, numbers(2, last));
      alice.socket.connect();
      await next(alice.socket, "connect");
      expect(alice.socket.recovered).toBe(false);
      await notify(url, { msg: { n: last + 1 }, keycloak: "alice" });
      expect((await alice.count(2)).map(numberOf)).toEqual([1, last + 1]);
    });
  });
}

/**
 * Networks that stall, go on, and are cut at random while notifications come, in number and size at random. Whatever a client
 * misses, it was told: between two connects that were not recovered there is no hole, nothing twice, nothing out of order.
 */
test("whatever the networks do, no client has a hole that it was not told of", async () => {
  const { seed, random } = seeded();
  // A stock client whose upgrade is cut in the middle finds out by its heartbeat only.
  const heartbeat = { AMPER_PING_INTERVAL_MS: "500", AMPER_PING_TIMEOUT_MS: "1500" };
  const { url } = await start({ AMPER_BACKLOG_BYTES: "60000", ...heartbeat });
  const { token } = await authorize(url);
  const styles: Options[] = Object.values(transports);
  const clients = await Promise.all(
    numbers(1, 9).map(async (i) => {
      const net = await networkOf(url);
      const client = page(
        net.url,
        { token, keycloakID: `user${i}`, channel: "msf" },
        pick(() => (i % 3) / 3, styles),
      );
      const log: (number | "gap")[] = [];
      client.socket.on("connect", () => client.socket.recovered || log.push("gap"));
      client.socket.on("notification", (msg: unknown) => log.push(numberOf(msg)));
      await next(client.socket, "connect");
      return { net, log, socket: client.socket };
    }),
  );
  let sent = 0;
  for (let round = 0; round < 150; round++) {
    const { net, socket } = pick(random, clients);
    const dice = random();
    if (dice < 0.35) net.stall();
    else if (dice < 0.8) net.resume();
    else net.cut();
    // Now and then so much that a websocket, too, is closed about when its client reads on.
    const isMuch = round % 30 === 29 && socket.io.engine.transport.name === "websocket";
    if (isMuch) net.stall();
    const size = isMuch ? 60_000 : random() * (random() < 0.2 ? 50_000 : 3000);
    const batch = numbers(sent + 1, sent + 1 + Math.floor(random() * (isMuch ? 120 : 12)));
    sent += batch.length;
    const bodies = batch.map((n) => ({ API_KEY: apiKey, msg: { n, pad: "x".repeat(size) }, channel: "msf" }));
    for (const body of bodies) expect((await post(url, body)).status).toBe(200);
    if (isMuch) net.resume();
  }
  for (const { net } of clients) net.resume();
  const online = async () =>
    (await connections(url)) === clients.length && clients.every(({ socket }) => socket.connected);
  await until(`all clients are online, seed ${seed}`, online);
  sent++;
  await until(`all clients are online for the last, seed ${seed}`, async () => {
    await notify(url, { msg: { n: sent }, channel: "msf" });
    if (await online()) return true;
    sent++;
    return false;
  });
  for (const { log, socket } of clients) {
    await until(`the last has come, seed ${seed}, ${socket.connected}`, () => log.includes(sent));
    // The first connect came before the first notification.
    expect(log.shift()).toBe("gap");
    let last: number | undefined = 0;
    for (const item of log) {
      if (item === "gap") last = undefined;
      else {
        const isNext = last === undefined || item === last + 1;
        expect({ seed, item, last, isNext }).toEqual({ seed, item, last, isNext: true });
        last = item;
      }
    }
  }
  expect(await closes(url, "polling")).toBeGreaterThan(0);
});
