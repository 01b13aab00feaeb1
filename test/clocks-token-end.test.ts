import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, connected, next, notify, page, transports, type Options, type Page } from "./support/client.ts";
import { createClocks } from "./support/clocks.ts";
import { folder } from "./support/folder.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** Whether a websocket token has ended, while only a wall clock says so that was set a moment ago. */

const minute_ms = 60_000;
const day_ms = 24 * 60 * minute_ms;
const wsToken = "a-token-that-ends-0123456789";

/** Tokens live for an hour. A connection that is sent away for now is sent away soon. */
async function setUp({ expires_at }: { expires_at?: string } = {}) {
  const clocks = createClocks();
  const env = {
    AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}`,
    AMPER_TOKEN_TTL_SECONDS: "3600",
    AMPER_CONNECT_TIMEOUT_MS: "100",
  };
  const ends = `[[ws_tokens]]\nname = "front"\ntoken = "${wsToken}"\nexpires_at = ${expires_at}\n`;
  const service = await start(env, { ...clocks, ...(expires_at !== undefined && { toml: ends }) });
  const { url } = service;
  return { url, clocks, postponed: () => metric(url, "amper_connections_postponed_total") };
}

function come(url: string, token: string, options: Options = {}): Page & { readonly refusals: unknown[] } {
  const opened = page(url, { token, keycloakID: "alice", channel: "msf" }, options);
  const refusals: unknown[] = [];
  opened.socket.on("connect_error", (error) => refusals.push(error));
  return { ...opened, refusals };
}

const expired = { data: { code: "token_expired" } };

for (const [name, options] of Object.entries(transports)) {
  test(`a page whose token ends only by a clock that was set comes back by itself, ${name}`, async () => {
    const { url, clocks, postponed } = await setUp();
    const { token } = await authorize(url);
    const alice = come(url, token, options);
    await next(alice.socket, "connect");
    clocks.step(day_ms);
    alice.socket.io.engine.close();
    await until("it was sent away twice", async () => (await postponed()) >= 2);
    await notify(url, { msg: "meanwhile", keycloak: "alice" });
    const back = next(alice.socket, "connect");
    clocks.step(-day_ms);
    await back;
    expect(alice.socket.recovered).toBe(true);
    expect(await alice.count(1)).toEqual(["meanwhile"]);
    expect(alice.refusals).toEqual([]);
  });
}

test("a connection that is closed because of a clock that was set comes back when that is set right", async () => {
  const { url, clocks, postponed } = await setUp();
  const { token } = await authorize(url);
  const { socket, count, refusals } = come(url, token);
  await next(socket, "connect");
  const closing = next(socket, "closing");
  clocks.step(day_ms);
  await notify(url, { msg: "a marker", keycloak: "nobody", ttl: 1 });
  clocks.pass(1001);
  await until("the service has noticed it", async () => (await metric(url, "amper_held")) === 0);
  clocks.pass(12_500);
  expect(await closing).toEqual({ code: "token_expired", reconnect: true });
  await until("it was sent away", async () => (await postponed()) >= 1);
  await notify(url, { msg: "meanwhile", keycloak: "alice" });
  const back = next(socket, "connect");
  clocks.step(-day_ms);
  await back;
  expect([socket.recovered, await count(1), refusals]).toEqual([true, ["meanwhile"], []]);
});

describe("a token that ends only by a clock that was set", () => {
  test.each([2, 24 * 365])("%d hours ahead has expired as soon as the new time is believed", async (hours) => {
    const { url, clocks, postponed } = await setUp();
    const { token } = await authorize(url);
    clocks.step(hours * 60 * minute_ms);
    const { socket, refusals } = come(url, token);
    await until("it was sent away", async () => (await postponed()) >= 1);
    expect(refusals).toEqual([]);
    const refused = next(socket, "connect_error");
    clocks.pass(10 * minute_ms);
    expect(await refused).toMatchObject(expired);
    expect(socket.active).toBe(false);
  });

  test("has expired at once when its time has passed", async () => {
    const { url, clocks, postponed } = await setUp();
    const { token } = await authorize(url);
    clocks.pass(55 * minute_ms);
    clocks.step(day_ms);
    clocks.pass(5 * minute_ms);
    expect(await next(come(url, token).socket, "connect_error")).toMatchObject(expired);
    expect(await postponed()).toBe(0);
  });

  test("is refused for good for any other reason", async () => {
    const { url, clocks } = await setUp();
    const { token } = await authorize(url, "?keycloakID=alice");
    clocks.step(day_ms);
    const { socket: other } = page(url, { token, keycloakID: "bob", channel: "msf" });
    expect(await next(other, "connect_error")).toMatchObject({ data: { code: "keycloak_mismatch" } });
    await fetch(`${url}/connections/alice`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
    expect(await next(come(url, token).socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
  });

  test("does not concern a page that brings a new one", async () => {
    const { url, clocks, postponed } = await setUp();
    const auth = (send: (auth: object) => void): void =>
      void authorize(url).then(({ token }) => send({ token, keycloakID: "alice", channel: "msf" }));
    const { socket, count } = page(url, auth);
    await next(socket, "connect");
    const back = next(socket, "connect");
    clocks.step(day_ms);
    socket.io.engine.close();
    await back;
    clocks.step(-day_ms);
    await notify(url, { msg: "here", keycloak: "alice" });
    expect(await count(1)).toEqual(["here"]);
    expect(await postponed()).toBe(0);
  });
});

describe("what is issued while the clock is wrong is taken,", () => {
  test.each([-day_ms, -2 * 60 * minute_ms])("by %d ms, also when it is set right", async (by_ms) => {
    const { url, clocks } = await setUp();
    clocks.step(by_ms);
    const { token, expiresIn } = await authorize(url);
    expect(expiresIn).toBe(3600);
    clocks.step(-by_ms);
    clocks.pass(59 * minute_ms);
    await connected(url, "alice", "msf", { token });
    clocks.pass(minute_ms);
    expect(await next(come(url, token).socket, "connect_error")).toMatchObject(expired);
  });

  test("beyond the end of its WS token, for as long as that is believed to last", async () => {
    const { url, clocks } = await setUp({ expires_at: "2026-01-01T00:30:00Z" });
    clocks.step(day_ms);
    const { token, expiresIn } = await authorize(url, "", wsToken);
    expect(expiresIn).toBe(1800);
    const { socket } = await connected(url, "alice", "msf", { token });
    clocks.step(-day_ms);
    await connected(url, "bob", "msf", { token });
    const closing = next(socket, "closing");
    clocks.pass(30 * minute_ms);
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
  });
});
