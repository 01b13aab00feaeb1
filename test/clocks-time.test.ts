import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import type { Log } from "../src/observe/log.ts";
import type { Service } from "../src/service.ts";
import { authorize, connected, next, notify, page } from "./support/client.ts";
import { createClocks } from "./support/clocks.ts";
import { folder } from "./support/folder.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey, quietLog, start } from "./support/service.ts";

/** What ends or is forgotten after a time, while the wall clock is set. */

const hour_ms = 3_600_000;
const day_ms = 24 * hour_ms;

function setUp(env: Record<string, string> = {}, log: Log = quietLog) {
  const clocks = createClocks();
  const path = join(folder(), "journal.db");
  let service: Service | undefined;
  return {
    clocks,
    /** Starts the service, or another one after it. */
    async begin(): Promise<string> {
      await service?.stop();
      service = await start({ AMPER_JOURNAL: `sqlite:${path}`, ...env }, { ...clocks, log });
      return service.url;
    },
    /** Waits until the service has looked for what is over: a hold of a second is. */
    async tidied(url: string): Promise<void> {
      const before = await metric(url, "amper_held");
      await notify(url, { msg: "a marker", keycloak: "nobody", ttl: 1 });
      clocks.pass(1001);
      await until("it has tidied up", async () => (await metric(url, "amper_held")) <= before);
    },
  };
}

async function attempt(url: string, token: string): Promise<unknown> {
  const { socket } = page(url, { token, keycloakID: "alice", channel: "msf" });
  return Promise.race([next(socket, "connect").then(() => "connected"), next(socket, "connect_error")]);
}

async function revoke(url: string): Promise<void> {
  const headers = { "X-API-Key": apiKey };
  expect((await fetch(`${url}/connections/alice`, { method: "DELETE", headers })).status).toBe(200);
}

describe("the window", () => {
  const env = { AMPER_JOURNAL_WINDOW_SECONDS: "2" };

  test("is trimmed in time after a notification that came while the clock was ahead", async () => {
    const { clocks, begin } = setUp(env);
    let url = await begin();
    clocks.step(hour_ms);
    await notify(url, { msg: "ahead", channel: "msf" });
    clocks.step(-hour_ms);
    for (let i = 0; i < 40; i++) await notify(url, { msg: i, channel: "msf" });
    expect(await metric(url, "amper_window_entries")).toBe(41);
    url = await begin();
    expect(await metric(url, "amper_window_entries")).toBe(41);
    clocks.pass(2001);
    await until("it is trimmed", async () => (await metric(url, "amper_window_entries")) === 0);
  });

  test("is trimmed in time, over a restart, though the clock was ahead when the service started", async () => {
    const { clocks, begin } = setUp(env);
    clocks.step(day_ms);
    let url = await begin();
    await notify(url, { msg: "ahead", channel: "msf" });
    clocks.step(-day_ms);
    for (let i = 0; i < 40; i++) await notify(url, { msg: i, channel: "msf" });
    clocks.pass(2001);
    await until("it is trimmed", async () => (await metric(url, "amper_window_entries")) === 0);
    await notify(url, { msg: "newer", channel: "msf" });
    url = await begin();
    expect(await metric(url, "amper_window_entries")).toBe(1);
    clocks.pass(2001);
    await until("it is trimmed", async () => (await metric(url, "amper_window_entries")) === 0);
  });
});

describe("a held notification", () => {
  test("outlives a wrong time that lasts for seconds", async () => {
    const { clocks, begin, tidied } = setUp();
    const url = await begin();
    await notify(url, { msg: "held", keycloak: "alice", ttl: 3600 });
    clocks.step(2 * day_ms);
    await tidied(url);
    const { count } = await connected(url, "alice", "msf");
    expect(await count(1)).toEqual(["held"]);
  });

  test("that came while the clock was behind lives its whole ttl", async () => {
    const { clocks, begin, tidied } = setUp();
    let url = await begin();
    await notify(url, { msg: "before", keycloak: "bob" });
    clocks.step(-hour_ms);
    await notify(url, { msg: "held", keycloak: "alice", ttl: 1800 });
    clocks.step(hour_ms);
    await tidied(url);
    url = await begin();
    const { count } = await connected(url, "alice", "msf");
    expect(await count(1)).toEqual(["held"]);
  });

  test.each([hour_ms, 30 * day_ms])("that came while the clock was %d ms ahead ends in time", async (by_ms) => {
    const { clocks, begin } = setUp();
    clocks.step(by_ms);
    const url = await begin();
    await notify(url, { msg: "held", keycloak: "alice", ttl: 10 });
    clocks.step(-by_ms);
    await notify(url, { msg: "held", keycloak: "alice", ttl: 10 });
    expect(await metric(url, "amper_held")).toBe(2);
    clocks.pass(10_000);
    await until("they have ended", async () => (await metric(url, "amper_held")) === 0);
  });

  test.each([3 * day_ms, hour_ms])(
    "lives its whole ttl after the clock was set right by %d ms for good",
    async (by_ms) => {
      const { clocks, begin, tidied } = setUp();
      clocks.step(-by_ms);
      const url = await begin();
      await notify(url, { msg: "held", keycloak: "alice", ttl: 1800 });
      clocks.step(by_ms);
      await tidied(url);
      clocks.pass(1_790_000);
      await tidied(url);
      const { socket, count } = await connected(url, "alice", "msf");
      expect(await count(1)).toEqual(["held"]);
      socket.disconnect();
      await until("it is alone", async () => (await metric(url, "amper_users")) === 0);
      clocks.pass(10_000);
      await until("it has ended", async () => (await metric(url, "amper_held")) === 0);
    },
  );

  test("of a life before ends by the wall clock, as soon as that is believed", async () => {
    const { clocks, begin, tidied } = setUp();
    let url = await begin();
    await notify(url, { msg: "held", keycloak: "alice", ttl: 1800 });
    url = await begin();
    clocks.step(hour_ms);
    await tidied(url);
    expect(await metric(url, "amper_held")).toBe(1);
    clocks.pass(600_000);
    await until("it has ended", async () => (await metric(url, "amper_held")) === 0);
  });
});

describe("a websocket token", () => {
  const env = { AMPER_TOKEN_TTL_SECONDS: "60" };
  const expired = { data: { code: "token_expired" } };

  test("that was issued while the clock was two days ahead dies when it would have, and so does its connection", async () => {
    const { clocks, begin, tidied } = setUp(env);
    let url = await begin();
    clocks.step(2 * day_ms);
    const { token } = await authorize(url, "?keycloakID=alice");
    const { socket } = await connected(url, "alice", "msf", { token });
    clocks.step(-2 * day_ms);
    await tidied(url);
    expect(await attempt(url, token)).toBe("connected");
    const closing = next(socket, "closing");
    clocks.pass(59_000);
    expect(await closing).toEqual({ code: "token_expired", reconnect: true });
    expect(await attempt(url, token)).toMatchObject(expired);
    url = await begin();
    expect(await attempt(url, token)).toMatchObject(expired);
  });

  test("ends with its connection after a suspend, within a heartbeat", async () => {
    const { clocks, begin, tidied } = setUp({ ...env, AMPER_PING_INTERVAL_MS: "5000" });
    const url = await begin();
    const { socket } = await connected(url, "alice", "msf");
    const closing = next(socket, "closing");
    clocks.step(61_000);
    await tidied(url);
    clocks.pass(4000);
    expect(await closing).toEqual({ code: "token_expired", reconnect: true });
  });

  test("keeps its connection through a wrong time that lasts for seconds", async () => {
    const { clocks, begin, tidied } = setUp({ ...env, AMPER_PING_INTERVAL_MS: "5000" });
    const url = await begin();
    const { count } = await connected(url, "alice", "msf");
    clocks.step(2 * day_ms);
    await tidied(url);
    clocks.step(-2 * day_ms);
    await tidied(url);
    clocks.pass(5000);
    await tidied(url);
    expect(await notify(url, { msg: "still here", keycloak: "alice" })).toMatchObject({ connections: 1 });
    expect(await count(1)).toEqual(["still here"]);
  });
});

test("a revocation outlives a clock that is two days ahead for seconds, and a restart at that moment", async () => {
  const { clocks, begin, tidied } = setUp();
  let url = await begin();
  const { token } = await authorize(url, "?keycloakID=alice");
  await revoke(url);
  clocks.step(2 * day_ms);
  await tidied(url);
  url = await begin();
  await tidied(url);
  clocks.step(-2 * day_ms);
  expect(await attempt(url, token)).toMatchObject({ data: { code: "revoked" } });
  url = await begin();
  expect(await attempt(url, token)).toMatchObject({ data: { code: "revoked" } });
});

test("a revocation is forgotten when the last credential has died", async () => {
  const { clocks, begin, tidied } = setUp();
  let url = await begin();
  await revoke(url);
  clocks.pass(day_ms);
  url = await begin();
  await tidied(url);
  expect(await metric(url, "amper_revocations")).toBe(1);
  // What is added to the longest life of an access token: for rounding, and `clock_tolerance_seconds`.
  clocks.pass(65_001);
  await until("it is forgotten", async () => (await metric(url, "amper_revocations")) === 0);
  url = await begin();
  expect(await metric(url, "amper_revocations")).toBe(0);
});

describe("a step of the clock", () => {
  const Ready = v.object({ status: v.string(), reasons: v.array(v.string()) });
  const ready = async (url: string) => v.parse(Ready, await (await fetch(`${url}/health/ready`)).json());

  test.each([
    { by_ms: hour_ms, direction: "forward", said: "forward (or the machine was suspended) by 3600 s" },
    { by_ms: -3000, direction: "back", said: "back by 3 s" },
  ])("of $by_ms ms is logged, counted, and shown in health for ten minutes", async ({ by_ms, direction, said }) => {
    const lines: unknown[] = [];
    const log = { ...quietLog, warn: (event: string, fields: object = {}) => void lines.push({ event, ...fields }) };
    const { clocks, begin } = setUp({}, log);
    const url = await begin();
    expect(await ready(url)).toEqual({ status: "ready", reasons: [] });
    clocks.step(by_ms);
    const degraded = { status: "degraded", reasons: [`clock: the wall clock was set ${said}`] };
    expect(await ready(url)).toEqual(degraded);
    expect(await metric(url, `amper_clock_steps_total{direction="${direction}"}`)).toBe(1);
    expect(lines).toEqual([{ event: "clock stepped", by_seconds: by_ms / 1000 }]);
    clocks.pass(599_000);
    expect(await ready(url)).toEqual(degraded);
    clocks.pass(1000);
    expect(await ready(url)).toEqual({ status: "ready", reasons: [] });
  });

  test("between two processes is told by the next one, if it is behind", async () => {
    const { clocks, begin } = setUp();
    await begin();
    clocks.step(-60_000);
    const url = await begin();
    expect(await ready(url)).toEqual({
      status: "degraded",
      reasons: ["clock: the wall clock was set back by 60 s"],
    });
  });
});
