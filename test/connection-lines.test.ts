import { describe, expect, test } from "bun:test";
import { connected, next, notify, page, transports } from "./support/client.ts";
import { logReader, type Line } from "./support/log-reader.ts";
import { frame, raws, talk, until, upgradeRequest } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** The lines of one connection, from its start to its end. */

const idsOf = (lines: readonly Line[]): unknown[] => lines.map(({ connectionId }) => connectionId);

for (const [name, options] of Object.entries(transports)) {
  describe(`a connection, ${name}`, () => {
    test("has one id in all of its lines, which its page knows", async () => {
      const { log, lines, said } = logReader();
      const { url } = await start({}, { log });
      const { socket } = await connected(url, "alice", "msf", options);
      await connected(url, "bob", "msf", options);
      const { id } = socket;
      const gone = next(socket, "disconnect");
      await fetch(`${url}/connections/alice`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
      await gone;
      await said("disconnected");
      const alices = lines.filter((line) => line["keycloakID"] === "alice" && line["event"] !== "user revoked");
      expect(alices.map(({ event }) => event)).toEqual(["connected", "connection closing", "disconnected"]);
      expect(idsOf(alices)).toEqual([id, id, id]);
      for (const line of alices)
        expect(line).toMatchObject({
          level: "info",
          channel: "msf",
          address: "127.0.0.1",
          transport: expect.stringMatching(/^(polling|websocket)$/),
        });
      expect(lines.some((line) => line["keycloakID"] === "bob" && line["connectionId"] === id)).toBe(false);
    });

    test("says at its end for how long it lived, and how many notifications it got", async () => {
      const { log, said } = logReader();
      const { url } = await start({}, { log });
      await notify(url, { msg: 0, channel: "msf" });
      const first = await connected(url, "carol", "msf", options);
      await notify(url, { msg: 1, channel: ["msf", "b2b"] });
      const alice = await connected(url, "alice", "msf", options);
      await notify(url, { msg: 2, channel: "msf" });
      await notify(url, { msg: 3, keycloak: ["alice", "bob"] });
      await notify(url, { msg: 4, keycloak: "alice", channel: "b2b" });
      await notify(url, { msg: 5, keycloak: "carol" });
      await alice.count(2);
      alice.socket.disconnect();
      await said("disconnected");
      await notify(url, { msg: 6, channel: "msf" });
      await first.count(4);
      first.socket.disconnect();
      const [one, other] = await said("disconnected", 2);
      expect(one).toMatchObject({ keycloakID: "alice", notifications: 2, seconds: expect.any(Number) });
      expect(other).toMatchObject({ keycloakID: "carol", notifications: 4, reason: "client namespace disconnect" });
    });
  });
}

test("what was held for a user, and what was missed, counts as handed over", async () => {
  const { log, said } = logReader();
  const { url } = await start({}, { log });
  await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
  const alice = await connected(url, "alice", "msf", { transports: ["websocket"] });
  await alice.count(1);
  alice.socket.io.engine.close();
  await said("disconnected");
  await notify(url, { msg: "missed", channel: "msf" });
  await alice.count(2);
  alice.socket.disconnect();
  const [first, second] = await said("disconnected", 2);
  expect([first?.["notifications"], second?.["notifications"]]).toEqual([1, 1]);
  expect(await said("connected", 2)).toMatchObject([
    { recovered: false, cause: "first", missed: 0 },
    { recovered: true, missed: 1 },
  ]);
  expect(new Set(idsOf([...(await said("connected")), first ?? {}, second ?? {}])).size).toBe(2);
});

describe("the end of a connection says why", () => {
  test("where its client is back on another one", async () => {
    const { log, said } = logReader();
    const { url } = await start({}, { log });
    const alice = await connected(url, "alice", "msf", { transports: ["websocket"] });
    const { token } = Object(alice.socket.auth);
    alice.socket.io.reconnection(false);
    const pid: unknown = Reflect.get(alice.socket, "_pid");
    await next(page(url, { token, pid, keycloakID: "alice", channel: "msf" }).socket, "connect");
    expect(await said("disconnected")).toMatchObject([{ keycloakID: "alice", reason: "replaced" }]);
  });

  test("where it lags too far", async () => {
    const { log, said } = logReader();
    const { url } = await start({ AMPER_BACKLOG_BYTES: "64 KiB" }, { log });
    const raw = await raws.polling(url);
    const { token } = Object(await (await fetch(`${url}/authorize`, { headers: bearer })).json());
    await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
    const [line] = await said("connected");
    const msg = "x".repeat(10_000);
    await until("it lags", async () => (await notify(url, { msg, keycloak: "alice" })).connections === 0);
    const { connectionId } = line ?? {};
    const lags = {
      connectionId,
      keycloakID: "alice",
      limit: "backlog_bytes",
      transport: "polling",
      address: "127.0.0.1",
    };
    expect(await said("connection lags too far")).toMatchObject([lags]);
    await raw.ended();
    expect(await said("disconnected")).toMatchObject([{ connectionId, reason: "overloaded" }]);
  });

  for (const transport of ["polling", "websocket"] as const) {
    test(`where its client sends too much, ${transport}`, async () => {
      const { log, said } = logReader();
      const { url } = await start({ AMPER_MAX_CLIENT_MESSAGES: "10" }, { log });
      const alice = await connected(url, "alice", "msf", { transports: [transport] });
      for (let i = 0; i < 11; i++) alice.socket.emit("event");
      const [ended] = await said("disconnected");
      expect(ended).toMatchObject({ keycloakID: "alice", reason: "max_client_messages" });
      const { connectionId } = ended ?? {};
      const who = { connectionId, keycloakID: "alice", channel: "msf", address: "127.0.0.1", transport };
      expect(await said("a client sent too much")).toMatchObject([who]);
    });
  }

  test("where a post is too large for its session", async () => {
    const { log, said } = logReader();
    const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "2000" }, { log });
    const alice = await connected(url, "alice", "msf", { transports: ["polling"] });
    alice.socket.emit("event", "x".repeat(3000));
    const [ended] = await said("disconnected");
    const { connectionId } = ended ?? {};
    expect(ended).toMatchObject({ keycloakID: "alice", reason: "max_client_bytes" });
    const refusal = {
      route: "/socket.io/",
      code: "too_large",
      connectionId,
      keycloakID: "alice",
      transport: "polling",
    };
    expect(await said("request refused")).toMatchObject([refusal]);
  });
});

const bearer = { Authorization: "Bearer test-ws-token-0123456789" };

test("one that has not said who it is has an id, a transport and an address, too", async () => {
  const { log, said } = logReader();
  const { url } = await start({ AMPER_MAX_UNAUTHENTICATED: "1", AMPER_MAX_CLIENT_MESSAGES: "10" }, { log });
  const first = await raws.polling(url);
  const pings = Array.from({ length: 12 }, () => frame(9, ""));
  await talk(url, Buffer.concat([Buffer.from(upgradeRequest()), ...pings]), { enough: 2 });
  await first.ended();
  const id = { connectionId: expect.any(String), address: "127.0.0.1" };
  expect(await said("unauthenticated connection ended")).toMatchObject([{ ...id, transport: "polling" }]);
  expect(await said("a client sent too much")).toMatchObject([{ ...id, transport: "websocket" }]);
  expect(await said("connection ended before its CONNECT")).toMatchObject([{ ...id, transport: "websocket" }]);
});

test("no line has the id that a session's polls are answered for", async () => {
  const { log, lines, said } = logReader();
  const { url } = await start({}, { log });
  const { socket } = await connected(url, "alice", "msf", { transports: ["polling"] });
  const { id } = socket.io.engine;
  socket.disconnect();
  await said("disconnected");
  expect(id.length).toBeGreaterThan(10);
  expect(JSON.stringify(lines)).not.toContain(id);
});
