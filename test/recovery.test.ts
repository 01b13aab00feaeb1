import { describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { authorize, connected, next, notify, page, transports, type Page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const secret = "0123456789abcdef0123456789abcdef";

/** Cuts the connection, lets things happen while it is gone, and not longer, and waits until the client is back. */
async function whileGone({ socket }: Page, happen: () => Promise<unknown>): Promise<void> {
  // Or else it may be back, by itself, before half of it has happened.
  socket.io.reconnection(false);
  socket.io.engine.close();
  await happen();
  socket.io.reconnection(true);
  const back = next(socket, "connect");
  socket.connect();
  await back;
}

/** The line of connections that a stock client would name: what it sends beside its `auth`. */
function memoryOf({ socket }: Page): { pid: string; offset: string | undefined } {
  const { _pid: pid, _lastOffset: offset }: { _pid?: unknown; _lastOffset?: unknown } = Object(socket);
  if (typeof pid !== "string") throw new Error("the client has no pid");
  return { pid, offset: typeof offset === "string" ? offset : undefined };
}

for (const [name, options] of Object.entries(transports)) {
  describe(`recovery, ${name}`, () => {
    test("gives back what was missed, in order, before anything newer, and says so", async () => {
      const { url } = await start();
      const alice = await connected(url, "alice", "msf", options);
      expect(alice.socket.recovered).toBe(false);
      await notify(url, { msg: 1, channel: "msf" });
      await alice.count(1);
      await whileGone(alice, async () => {
        await notify(url, { msg: 2, channel: "msf" });
        await notify(url, { msg: "for bob", keycloak: "bob" });
        await notify(url, { msg: 3, keycloak: "alice" });
        await notify(url, { msg: "elsewhere", keycloak: "alice", channel: "b2b" });
        await notify(url, { msg: 4, keycloak: ["alice", "bob"], channel: ["msf", "b2b"] });
        await notify(url, { msg: "elsewhere", channel: "b2b" });
      });
      expect(alice.socket.recovered).toBe(true);
      await notify(url, { msg: 5, keycloak: "alice" });
      expect(await alice.count(5)).toEqual([1, 2, 3, 4, 5]);
    });

    test("works for one who had received nothing before, and again and again", async () => {
      const { url } = await start();
      const alice = await connected(url, "alice", "msf", options);
      const expected: number[] = [];
      for (let round = 0; round < 5; round++) {
        await whileGone(alice, async () => {
          for (const msg of [round * 2, round * 2 + 1]) {
            expected.push(msg);
            await notify(url, { msg, channel: "msf" });
          }
        });
        expect(alice.socket.recovered).toBe(true);
        expect(await alice.count(expected.length)).toEqual(expected);
      }
    });

    test("survives restarts: each missed notification comes once, however many epochs lie between", async () => {
      const env = { AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
      let service = await start(env);
      const { port } = new URL(service.url);
      const alice = await connected(service.url, "alice", "msf", options);
      const expected: number[] = [];
      for (let round = 0; round < 4; round++) {
        const back = next(alice.socket, "connect");
        expected.push(round);
        await notify(service.url, { msg: round, channel: "msf" });
        await service.stop();
        service = await start({ ...env, AMPER_PORT: port });
        await back;
        expect(alice.socket.recovered).toBe(true);
        expect(await alice.count(expected.length)).toEqual(expected);
      }
    });
  });
}

describe("a quiet user", () => {
  test("on a busy server is recovered after a cut, although all that he ever got has left the window", async () => {
    let now_ms = Date.now();
    const { url } = await start({ AMPER_JOURNAL_WINDOW_SECONDS: "1" }, { now: () => now_ms });
    const alice = await connected(url, "alice", "msf", { transports: ["websocket"] });
    let heads = 0;
    alice.socket.on("cursor", () => heads++);
    // Three windows, however long they take.
    await until("the head is told fifteen times", async () => {
      await notify(url, { msg: "busy", channel: "b2b" });
      now_ms += 20;
      return heads >= 15;
    });
    await whileGone(alice, () => notify(url, { msg: "at last", keycloak: "alice" }));
    expect(alice.socket.recovered).toBe(true);
    expect(await alice.count(1)).toEqual(["at last"]);
  });

  test("is left alone while nothing happens", async () => {
    const { url } = await start({ AMPER_JOURNAL_WINDOW_SECONDS: "1", AMPER_PING_INTERVAL_MS: "300" });
    const alice = await connected(url, "alice", "msf");
    const events: unknown[] = [];
    alice.socket.onAny((event) => events.push(event));
    for (let told = 1; told <= 2; told++) {
      const head = next(alice.socket, "cursor");
      await notify(url, { msg: told, channel: "b2b" });
      await head;
      // From one heartbeat to the next is more than a fifth of the window.
      for (let beat = 0; beat < 2; beat++)
        await new Promise((resolve) => alice.socket.io.once("ping", () => resolve(null)));
      expect(events).toEqual(Array.from({ length: told }, () => "cursor"));
    }
  });

  test("is told the head as well where the window is bounded by bytes", async () => {
    const { url } = await start({ AMPER_JOURNAL_WINDOW_BYTES: "20000" });
    const alice = await connected(url, "alice", "msf");
    for (let i = 0; i < 10; i++) await notify(url, { msg: "x".repeat(5000), channel: "b2b" });
    await whileGone(alice, () => notify(url, { msg: "at last", keycloak: "alice" }));
    expect(alice.socket.recovered).toBe(true);
    expect(await alice.count(1)).toEqual(["at last"]);
  });
});

describe("no recovery, and no replay", () => {
  test("after the window", async () => {
    let now_ms = Date.now();
    const { url } = await start({ AMPER_TOKEN_TTL_SECONDS: "86400" }, { now: () => now_ms });
    const alice = await connected(url, "alice", "msf");
    alice.socket.disconnect();
    await notify(url, { msg: "missed", channel: "msf" });
    now_ms += 301_000;
    // The window is tidied in the background, once a second.
    await until("the window is empty", async () => (await metric(url, "amper_window_entries")) === 0);
    alice.socket.connect();
    await next(alice.socket, "connect");
    expect(alice.socket.recovered).toBe(false);
    await notify(url, { msg: "new", channel: "msf" });
    expect(await alice.count(1)).toEqual(["new"]);
  });

  test("of more than half the backlog", async () => {
    const { url } = await start({ AMPER_BACKLOG_BYTES: "10000" });
    const alice = await connected(url, "alice", "msf");
    await whileGone(alice, async () => {
      for (let i = 0; i < 6; i++) await notify(url, { msg: "x".repeat(1000), channel: "msf" });
    });
    expect(alice.socket.recovered).toBe(false);
    await notify(url, { msg: "new", channel: "msf" });
    expect(await alice.count(1)).toEqual(["new"]);
  });

  test("for a page that switched to another user or channel on the same socket", async () => {
    const { url } = await start();
    const alice = await connected(url, "alice", "msf");
    const { token } = await authorize(url);
    await notify(url, { msg: "alice's", keycloak: "alice" });
    await alice.count(1);
    for (const [keycloakID, channel] of [
      ["bob", "msf"],
      ["bob", "b2b"],
      ["alice", "b2b"],
    ] as const) {
      alice.socket.disconnect();
      await notify(url, { msg: "alice's", keycloak: "alice", channel: "msf" });
      await notify(url, { msg: "msf's", channel: "msf" });
      alice.socket.auth = { token, keycloakID, channel };
      alice.socket.connect();
      await next(alice.socket, "connect");
      expect(alice.socket.recovered).toBe(false);
    }
    await notify(url, { msg: "end", keycloak: "alice", channel: "b2b" });
    expect(await alice.count(2)).toEqual(["alice's", "end"]);
  });

  test("when the offset that the client still has is older than its pid: the pid counts", async () => {
    const { url } = await start();
    const alice = await connected(url, "alice", "msf");
    const { token } = await authorize(url);
    await notify(url, { msg: 1, channel: "msf" });
    await alice.count(1);
    alice.socket.disconnect();
    await notify(url, { msg: "before bob", channel: "msf" });
    alice.socket.auth = { token, keycloakID: "bob", channel: "msf" };
    alice.socket.connect();
    await next(alice.socket, "connect");
    // Nothing has come since: beside the new pid the client sends the offset of the time when it was alice.
    await whileGone(alice, () => notify(url, { msg: 2, channel: "msf" }));
    expect(alice.socket.recovered).toBe(true);
    expect(await alice.count(2)).toEqual([1, 2]);
  });

  test("from a journal that was lost, then recovery from the new one", async () => {
    const first = await start({ AMPER_TOKEN_SECRET: secret });
    const { port } = new URL(first.url);
    const alice = await connected(first.url, "alice", "msf");
    await notify(first.url, { msg: 1, channel: "msf" });
    await alice.count(1);
    const back = next(alice.socket, "connect");
    await first.stop();
    const { url } = await start({ AMPER_TOKEN_SECRET: secret, AMPER_PORT: port });
    for (let i = 0; i < 5; i++) await notify(url, { msg: "of the new journal", channel: "b2b" });
    await back;
    expect(alice.socket.recovered).toBe(false);
    await whileGone(alice, () => notify(url, { msg: 2, channel: "msf" }));
    expect(alice.socket.recovered).toBe(true);
    expect(await alice.count(2)).toEqual([1, 2]);
  });

  test("from an older copy of the journal that was restored", async () => {
    const path = join(folder(), "journal.db");
    const env = { AMPER_JOURNAL: `sqlite:${path}`, AMPER_TOKEN_SECRET: secret };
    let service = await start(env);
    const { port } = new URL(service.url);
    await notify(service.url, { msg: 0, channel: "msf" });
    const restart = async (between: () => void) => {
      await service.stop();
      between();
      service = await start({ ...env, AMPER_PORT: port });
    };
    await restart(() => copyFileSync(path, `${path}.copy`));
    const alice = await connected(service.url, "alice", "msf");
    const bob = await connected(service.url, "bob", "msf");
    for (const msg of [1, 2, 3]) await notify(service.url, { msg, channel: "msf" });
    await Promise.all([alice.count(3), bob.count(3)]);
    const backs = [next(alice.socket, "connect"), next(bob.socket, "connect")];
    await restart(() => copyFileSync(`${path}.copy`, path));
    // The same sequences, another history.
    for (const msg of ["a", "b", "c", "d"]) await notify(service.url, { msg, channel: "b2b" });
    await Promise.all(backs);
    expect([alice.socket.recovered, bob.socket.recovered]).toEqual([false, false]);
    await notify(service.url, { msg: "end", channel: "msf" });
    expect(await alice.count(4)).toEqual([1, 2, 3, "end"]);
  });

  test("for made-up pids and offsets: they are ignored, and do no harm", async () => {
    const { url } = await start();
    const { token } = await authorize(url);
    const alice = await connected(url, "alice", "msf");
    await notify(url, { msg: "alice's", keycloak: "alice" });
    await alice.count(1);
    const { pid, offset } = memoryOf(alice);
    const odd: object[] = [
      { pid: 1 },
      { pid: {}, offset: [] },
      { pid: "x", offset: "y" },
      { pid: "x".repeat(5000) },
      { pid: pid.replace(/^[^-]+/, "nonsense"), offset },
      { pid: pid.replace(/-\d+/, "-999999999999999"), offset: undefined },
      { pid, offset: offset?.replace(/-\d+/, "-999999") },
      { pid, offset: "nonsense" },
    ];
    for (const memory of odd) {
      const other = page(url, { ...memory, token, keycloakID: "alice", channel: "msf" });
      await next(other.socket, "connect");
      expect([memory, other.socket.recovered, other.received]).toEqual([memory, false, []]);
      other.socket.disconnect();
    }
    const thief = page(url, { pid, token, keycloakID: "mallory", channel: "msf" });
    await next(thief.socket, "connect");
    await notify(url, { msg: "end", keycloak: "mallory" });
    expect(await thief.count(1)).toEqual(["end"]);
  });
});

describe("one line of connections", () => {
  test("has one connection: a client that is back closes the one that it left behind", async () => {
    const { url } = await start();
    const { token } = await authorize(url);
    const left = await connected(url, "alice", "msf", { transports: ["websocket"] });
    left.socket.io.reconnection(false);
    const gone = next(left.socket, "disconnect");
    const back = page(url, { ...memoryOf(left), token, keycloakID: "alice", channel: "msf" });
    await next(back.socket, "connect");
    expect(await gone).toBe("transport close");
    expect(await notify(url, { msg: 1, keycloak: "alice" })).toMatchObject({ connections: 1 });
    expect(await back.count(1)).toEqual([1]);
    expect(left.received).toEqual([]);
  });

  test("raced by two connections: each gets what was missed, nothing twice, and one of them stays", async () => {
    const { url } = await start();
    const { token } = await authorize(url);
    const first = await connected(url, "alice", "msf");
    await notify(url, { msg: 1, channel: "msf" });
    await first.count(1);
    const memory = memoryOf(first);
    first.socket.disconnect();
    await notify(url, { msg: 2, channel: "msf" });
    const racers = [1, 2].map(() => {
      const racer = page(url, { ...memory, token, keycloakID: "alice", channel: "msf" }, { transports: ["websocket"] });
      racer.socket.io.reconnection(false);
      return racer;
    });
    await Promise.all(racers.map(({ socket }) => next(socket, "connect")));
    await Promise.race(racers.map(({ socket }) => next(socket, "disconnect")));
    expect(await notify(url, { msg: 3, channel: "msf" })).toMatchObject({ connections: 1 });
    await Promise.race(racers.map((racer) => racer.count(2)));
    expect(racers.map(({ received }) => received).toSorted((a, b) => a.length - b.length)).toEqual([[2], [2, 3]]);
  });

  test("comes back although its user is at his limit: what it left behind does not count", async () => {
    const { url } = await start({ AMPER_MAX_CONNECTIONS_PER_USER: "1" });
    const { token } = await authorize(url);
    const left = await connected(url, "alice", "msf", { transports: ["websocket"] });
    left.socket.io.reconnection(false);
    const back = page(url, { ...memoryOf(left), token, keycloakID: "alice", channel: "msf" });
    await next(back.socket, "connect");
    const other = page(url, { ...memoryOf(back), token, keycloakID: "alice", channel: "b2b" });
    expect(await next(other.socket, "connect_error")).toMatchObject({ data: { code: "too_many_connections" } });
  });

  test("ends with the token: one revoked while its client was gone gets nothing any more", async () => {
    const { url } = await start();
    const alice = await connected(url, "alice", "msf");
    const refused = next(alice.socket, "connect_error");
    alice.socket.io.engine.close();
    await notify(url, { msg: "too late", keycloak: "alice" });
    await fetch(`${url}/connections/alice`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
    expect(await refused).toMatchObject({ data: { code: "revoked" } });
    expect(alice.received).toEqual([]);
  });
});
