import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { launch } from "./support/binary.ts";
import { authorize, connected, next, page, post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import type { Line } from "./support/log-reader.ts";
import { listen } from "./support/loopback.ts";
import { raws } from "./support/raw.ts";
import { startRealm, user } from "./support/realm.ts";
import { apiKey, wsToken } from "./support/service.ts";

/** Why does this user see nothing? What an operator reads of it in the log, at its default level. */

const admin = { "X-API-Key": "ops-key-0123456789" };
const toml = `
[api_keys.orders]
key = "${apiKey}"
[api_keys.ops]
key = "${admin["X-API-Key"]}"
admin = true
[ws_tokens.front]
token = "${wsToken}"
`;

async function setUp(env: Record<string, string> = {}, more = "") {
  const path = join(folder(), "amper.toml");
  writeFileSync(path, toml + more);
  const run = await launch({ args: ["--config", path], env: { AMPER_API_KEYS: "", AMPER_WS_TOKENS: "", ...env } });
  const linesOf = (event: string): Line[] =>
    run.lines.map((text): Line => JSON.parse(text)).filter((one) => one["event"] === event);
  /** The last line of an event, as soon as there is one. */
  async function line(event: string): Promise<Line> {
    await run.said(new RegExp(`"event":"${event}"`));
    return linesOf(event).at(-1) ?? {};
  }
  const notify = async (body: object) =>
    (await post(run.url, { msg: "hello", ...body }, { "X-API-Key": apiKey })).json();
  return { ...run, line, linesOf, notify };
}

const where = { transport: expect.any(String), address: "127.0.0.1" };

test("the page is on another channel: whom it was for, and where the user is", async () => {
  const { url, line, notify } = await setUp();
  await connected(url, "alice", "b2b");
  expect(await line("connected")).toMatchObject({ level: "info", keycloakID: "alice", channel: "b2b", ...where });
  await notify({ keycloak: "alice", channel: "msf" });
  expect(await line("notified")).toMatchObject({
    level: "info",
    key: "orders",
    keycloak: ["alice"],
    channel: ["msf"],
    connections: 0,
    offline: ["alice"],
  });
});

test("the user has no role: who asked, and what the user lacks", async () => {
  const realm = await startRealm({ now: Date.now });
  try {
    const rules = `[keycloak]\nissuer = "${realm.issuer}"\n[channels.msf]\nroles = ["msf-user"]\n`;
    const { url, line } = await setUp({}, rules);
    const headers = { Authorization: `Bearer ${await realm.mint()}` };
    expect((await fetch(`${url}/authorize`, { headers })).status).toBe(403);
    expect(await line("request refused")).toMatchObject({
      route: "/authorize",
      code: "no_channel",
      reason: expect.stringContaining("roles"),
      keycloakID: user,
      through: "realm keycloak",
    });
  } finally {
    await realm.stop();
  }
});

test("the token has expired: when, and that its page came back with it", async () => {
  const { url, line } = await setUp({ AMPER_TOKEN_TTL_SECONDS: "1" });
  const { token, expiresAt } = await authorize(url, "?keycloakID=alice");
  const { socket } = page(url, { token, keycloakID: "alice", channel: "msf" });
  await next(socket, "connect_error");
  const refusal = { code: "token_expired", keycloakID: "alice", channel: "msf", expiresAt, through: "ws_token front" };
  expect(await line("connection refused")).toMatchObject({ ...refusal, ...where });
});

test("the access token has expired: whose it is", async () => {
  const realm = await startRealm({ now: Date.now });
  try {
    const { url, line } = await setUp({ AMPER_KEYCLOAK_ISSUER: realm.issuer });
    const old = Math.floor(Date.now() / 1000) - 600;
    const headers = { Authorization: `Bearer ${await realm.mint({ iat: old, exp: old + 60 })}` };
    expect((await fetch(`${url}/authorize`, { headers })).status).toBe(401);
    expect(await line("request refused")).toMatchObject({
      code: "token_invalid",
      reason: expect.stringContaining("expired"),
      keycloakID: user,
    });
  } finally {
    await realm.stop();
  }
});

test("the user was revoked: by which key, and that the page came back", async () => {
  const { url, line, linesOf } = await setUp();
  const { token } = await authorize(url);
  const { socket } = await connected(url, "alice", "msf", { token });
  const gone = next(socket, "disconnect");
  await fetch(`${url}/connections/alice`, { method: "DELETE", headers: admin });
  await gone;
  expect(await line("user revoked")).toMatchObject({ keycloakID: "alice", key: "ops", connections: 1 });
  const { connectionId, ...ended } = await line("disconnected");
  expect(ended).toMatchObject({ keycloakID: "alice", channel: "msf", reason: "revoked" });
  expect(linesOf("connection closing")).toMatchObject([{ connectionId, code: "revoked" }]);
  await next(page(url, { token, keycloakID: "alice", channel: "msf" }).socket, "connect_error");
  expect(await line("connection refused")).toMatchObject({ code: "revoked", keycloakID: "alice", ...where });
});

test("the page names another user: whom, and whose the token is", async () => {
  const { url, line } = await setUp();
  const { token } = await authorize(url, "?keycloakID=alice");
  await next(page(url, { token, keycloakID: "bob", channel: "msf" }).socket, "connect_error");
  const names = { code: "keycloak_mismatch", keycloakID: "bob", issuedTo: "alice" };
  expect(await line("connection refused")).toMatchObject({ ...names, ...where });
});

/** A proxy that does not know websockets. */
async function plainProxy(to: string): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(new URL(to).port), "127.0.0.1");
    for (const [from, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => other.destroy());
      from.on("close", () => other.destroy());
    }
    client.on("data", (data) =>
      upstream.write(data.toString("latin1").replace(/^(Upgrade|Connection): .*\r\n/gim, "")),
    );
    upstream.on("data", (data) => client.write(data));
  });
  return listen(server, () => sockets.forEach((socket) => socket.destroy()));
}

test("a proxy blocks websockets: that it does", async () => {
  const { url, line } = await setUp();
  const { token } = await authorize(url, "?keycloakID=alice");
  const options = { transports: ["websocket"] } as const;
  const { socket } = page(await plainProxy(url), { token, keycloakID: "alice", channel: "msf" }, options);
  await next(socket, "connect_error");
  // Who it is, a page says only when its websocket is open.
  expect(await line("authorized")).toMatchObject({ keycloakID: "alice", address: "127.0.0.1" });
  expect(await line("request refused")).toMatchObject({
    route: "/socket.io/",
    reason: expect.stringContaining("proxy"),
    transport: "websocket",
    address: "127.0.0.1",
  });
});

test("nothing comes over an open websocket: that its client never said who it is", async () => {
  const { url, line } = await setUp({ AMPER_CONNECT_TIMEOUT_MS: "1000" });
  await (await raws.websocket(url)).ended();
  expect(await line("connection ended before its CONNECT")).toMatchObject({
    level: "info",
    connectionId: expect.any(String),
    seconds: expect.any(Number),
    ...where,
    transport: "websocket",
  });
});

test("a limit was met: which, and by whom", async () => {
  const { url, line } = await setUp({ AMPER_MAX_CONNECTIONS_PER_USER: "1" });
  const { token } = await authorize(url);
  await connected(url, "alice", "msf", { token });
  await next(page(url, { token, keycloakID: "alice", channel: "msf" }).socket, "connect_error");
  expect(await line("connection refused")).toMatchObject({
    code: "too_many_connections",
    keycloakID: "alice",
    ...where,
  });
});

test("nobody notified the user: that the connection got nothing, and who did", async () => {
  const { url, line, linesOf, notify } = await setUp();
  const alice = await connected(url, "alice", "msf");
  await notify({ keycloak: "bob" });
  await notify({ channel: "b2b" });
  alice.socket.disconnect();
  expect(await line("disconnected")).toMatchObject({
    keycloakID: "alice",
    channel: "msf",
    notifications: 0,
    reason: "client namespace disconnect",
  });
  expect(linesOf("notified")).toMatchObject([
    { keycloak: ["bob"], connections: 0, offline: ["bob"] },
    { channel: ["b2b"], connections: 0, offline: [] },
  ]);
  expect(linesOf("notified").some((one) => /alice|msf/.test(JSON.stringify(one)))).toBe(false);
});
