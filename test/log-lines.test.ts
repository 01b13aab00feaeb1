import { describe, expect, test } from "bun:test";
import { refusals } from "../src/model/refusal.ts";
import { authorize, connected, next, page, transports } from "./support/client.ts";
import { logReader } from "./support/log-reader.ts";
import { frame, raws, talk, upgradeRequest } from "./support/raw.ts";
import { startRealm, user } from "./support/realm.ts";
import { start, wsToken } from "./support/service.ts";

/** What an operator reads of who came, who was refused, and where from. */

const behindProxy = { AMPER_TRUST_PROXY_HOPS: "1" };
const from = (address: string) => ({ "X-Forwarded-For": address });

describe("a refused connection", () => {
  for (const [name, options] of Object.entries(transports)) {
    test(`is logged with who, where from, where to and why, ${name}`, async () => {
      const { log, said } = logReader();
      const toml = `[channels.msf]\n[ws_tokens.front]\ntoken = "${wsToken}"\nchannels = ["msf"]\n[channels.b2b]`;
      const { url } = await start(behindProxy, { log, toml });
      const { token, expiresAt } = await authorize(url, "?keycloakID=alice");
      const headers = { extraHeaders: from("203.0.113.7") };
      const { socket } = page(url, { token, keycloakID: "alice", channel: "b2b" }, { ...options, ...headers });
      await next(socket, "connect_error");
      expect(await said("connection refused")).toEqual([
        {
          level: "info",
          event: "connection refused",
          code: "channel_forbidden",
          reason: refusals.channel_forbidden,
          keycloakID: "alice",
          channel: "b2b",
          address: "203.0.113.7",
          transport: name === "websocket only" ? "websocket" : "polling",
          connectionId: expect.any(String),
          issuedTo: "alice",
          allows: ["msf"],
          expiresAt,
          through: "ws_token front",
        },
      ]);
    });
  }

  test("is logged with what its page claims where the token is forged", async () => {
    const { log, said } = logReader();
    const { url } = await start(behindProxy, { log });
    const headers = { extraHeaders: from("2001:db8::7:1") };
    const { socket } = page(url, { token: "guessed", keycloakID: "bob", channel: "msf" }, headers);
    await next(socket, "connect_error");
    expect(await said("connection refused")).toMatchObject([
      { code: "token_invalid", keycloakID: "bob", channel: "msf", address: "2001:db8::7:1" },
    ]);
  });

  test("is logged without what is no name, and without a token in the place of one", async () => {
    const { log, lines, said } = logReader();
    const { url } = await start({}, { log });
    const { token } = await authorize(url);
    for (const [i, auth] of [
      { token: "alice", keycloakID: wsToken, channel: wsToken },
      { token: "alice", keycloakID: token, channel: token },
      { token: "alice", keycloakID: `Bearer ${wsToken}`, channel: `Bearer ${wsToken}` },
      { keycloakID: "two\nlines", channel: "line\nbreak" },
      { keycloakID: { $ne: 1 }, channel: ["msf"] },
      {},
    ].entries()) {
      const { socket } = page(url, auth);
      await next(socket, "connect_error");
      const line = (await said("connection refused"))[i];
      expect([line?.["keycloakID"], line?.["channel"], line?.["address"]]).toEqual([undefined, undefined, "127.0.0.1"]);
    }
    for (const secret of [wsToken, token]) expect(JSON.stringify(lines)).not.toContain(secret);
  });

  test("before its CONNECT is logged with the address and the limit", async () => {
    const { log, said } = logReader();
    const { url } = await start({ ...behindProxy, AMPER_MAX_CONNECTIONS_PER_ADDRESS: "1" }, { log });
    const polling = () => fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers: from("203.0.113.9") });
    expect((await polling()).status).toBe(200);
    expect((await polling()).status).toBe(429);
    const headers = from("203.0.113.9");
    expect((await talk(url, upgradeRequest({ headers }))).answers[0]?.status).toBe(429);
    const expected = {
      route: "/socket.io/",
      code: "rate_limited",
      address: "203.0.113.9",
      reason: expect.stringContaining("(max_connections_per_address)"),
    };
    expect(await said("request refused")).toMatchObject([expected, expected]);
  });
});

describe("a connection that is ended for a limit is logged with its address", () => {
  test("where a newer one takes its place", async () => {
    const { log, said } = logReader();
    const { url } = await start({ AMPER_MAX_UNAUTHENTICATED: "1" }, { log });
    const first = await raws.websocket(url);
    await raws.websocket(url);
    await first.ended();
    expect(await said("unauthenticated connection ended")).toMatchObject([
      { limit: "max_unauthenticated", address: "127.0.0.1" },
    ]);
  });

  test("where it sends too many messages", async () => {
    const { log, said } = logReader();
    const { url } = await start({ AMPER_MAX_CLIENT_MESSAGES: "10" }, { log });
    const raw = await raws.websocket(url);
    await raw.send(...Array.from({ length: 11 }, () => "3"));
    await raw.ended();
    expect((await said("a client sent too much"))[0]).toMatchObject({
      limit: "max_client_messages",
      address: "127.0.0.1",
    });
  });

  test("where it sends too many control frames", async () => {
    const { log, said } = logReader();
    const { url } = await start({ AMPER_MAX_CLIENT_MESSAGES: "10" }, { log });
    const pings = Array.from({ length: 12 }, () => frame(9, ""));
    await talk(url, Buffer.concat([Buffer.from(upgradeRequest()), ...pings]), { enough: 2 });
    expect((await said("a client sent too much"))[0]).toMatchObject({
      limit: "max_client_messages",
      peer: "127.0.0.1",
    });
  });
});

describe("who is given a token is logged", () => {
  test("with the WS token, the user, the session, the channels, the address and the end", async () => {
    const { log, said } = logReader();
    const toml = `[ws_tokens.front]\ntoken = "${wsToken}"\nchannels = ["msf", "b2b"]`;
    const { url } = await start(behindProxy, { log, toml });
    const response = await fetch(`${url}/authorize?keycloakID=alice&sid=s-1`, {
      headers: { Authorization: `Bearer ${wsToken}`, "X-Request-Id": "r-1", ...from("203.0.113.7") },
    });
    const { expiresAt, token }: { expiresAt?: unknown; token?: unknown } = Object(await response.json());
    const lines = await said("authorized");
    expect(lines).toEqual([
      {
        level: "info",
        event: "authorized",
        keycloakID: "alice",
        session: "s-1",
        channels: "msf b2b",
        through: "ws_token front",
        expiresAt,
        address: "203.0.113.7",
        requestId: "r-1",
      },
    ]);
    expect(JSON.stringify(lines)).not.toContain(String(token));
  });

  test("with null for a user where the token is bound to none", async () => {
    const { log, said } = logReader();
    const { url } = await start({}, { log });
    await authorize(url);
    expect(await said("authorized")).toMatchObject([{ keycloakID: null, session: null, channels: "*" }]);
  });

  test("with the realm, where an access token brought it", async () => {
    const { log, said } = logReader();
    const realm = await startRealm({ now: Date.now });
    try {
      const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, { log });
      await authorize(url, "", await realm.mint());
      expect(await said("authorized")).toMatchObject([
        { keycloakID: user, session: "0f8a4a5c-session", channels: "*", through: "realm keycloak" },
      ]);
    } finally {
      await realm.stop();
    }
  });

  test("and not where it is refused", async () => {
    const { log, lines, said } = logReader();
    const { url } = await start({ AMPER_REQUIRE_BOUND_TOKENS: "true" }, { log });
    const headers = { Authorization: `Bearer ${wsToken}` };
    expect((await fetch(`${url}/authorize`, { headers })).status).toBe(403);
    expect(await said("request refused")).toMatchObject([{ route: "/authorize", code: "unbound_forbidden" }]);
    expect(lines.map(({ event }) => event)).not.toContain("authorized");
  });
});

test("a connection is named at its start and its end", async () => {
  const { log, said } = logReader();
  const { url } = await start({}, { log });
  const { socket } = await connected(url, "alice", "msf");
  expect(await said("connected")).toMatchObject([{ keycloakID: "alice", channel: "msf" }]);
  socket.disconnect();
  expect(await said("disconnected")).toMatchObject([{ keycloakID: "alice", channel: "msf" }]);
});
