import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, connected, next, notify, page, post } from "./support/client.ts";
import { createClock } from "./support/realm.ts";
import { logReader } from "./support/log-reader.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** What the lines of a request say of it, and by what they are found. */

const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const traceparent = `00-${trace}-00f067aa0ba902b7-01`;
const key = { "X-API-Key": apiKey };

describe("a notification's line", () => {
  test("has its target, id, key, who was offline, its request and its trace", async () => {
    const { log, said } = logReader();
    const { url } = await start({}, { log });
    await connected(url, "alice", "msf");
    const body = { msg: 1, keycloak: ["alice", "bob"], channel: ["msf", "b2b"], ttl: 60 };
    const response = await post(url, body, { ...key, "X-Request-Id": "r-1", traceparent });
    const { id }: { id?: unknown } = Object(await response.json());
    expect(await said("notified")).toEqual([
      {
        level: "info",
        event: "notified",
        id,
        kind: "user_channel",
        key: "backend",
        keycloak: ["alice", "bob"],
        channel: ["msf", "b2b"],
        connections: 1,
        offline: ["bob"],
        held: true,
        requestId: "r-1",
        traceId: trace,
      },
    ]);
  });

  test("has the channels to which its key limits it", async () => {
    const { log, said } = logReader();
    const toml = `[api_keys.orders]\nkey = "${apiKey}"\nchannels = ["b2b"]`;
    const { url } = await start({}, { log, toml });
    await notify(url, { msg: 1, keycloak: "alice" });
    expect(await said("notified")).toMatchObject([{ keycloak: ["alice"], channel: ["b2b"], offline: ["alice"] }]);
  });

  test("is another one where the same Idempotency-Key comes again", async () => {
    const { log, said } = logReader();
    const { url } = await start({}, { log });
    const send = () => post(url, { msg: 1, keycloak: "alice" }, { ...key, "Idempotency-Key": "once" });
    const { id }: { id?: unknown } = Object(await (await send()).json());
    await send();
    expect(await said("notification repeated")).toMatchObject([
      { level: "info", id, key: "backend", keycloak: ["alice"] },
    ]);
    expect(await said("notified")).toHaveLength(1);
  });

  test("never has the message", async () => {
    const { log, lines } = logReader();
    const { url } = await start({}, { log });
    await notify(url, { msg: { secret: "for alice only" }, keycloak: "alice" });
    await post(url, { msg: "for alice only", keycloak: null }, key);
    expect(lines).toHaveLength(2);
    expect(JSON.stringify(lines)).not.toContain("for alice");
  });
});

describe("a refusal's line", () => {
  test("has the name of its key, the target, and what is wrong with the body", async () => {
    const { log, lines } = logReader();
    const toml = `[api_keys.orders]\nkey = "${apiKey}"\nchannels = ["b2b"]\n[channels.b2b]\n[channels.msf]`;
    const { url } = await start({}, { log, toml });
    await post(url, { msg: 1, keycloak: "alice", channel: "msf" }, key);
    await post(url, { msg: 1, channel: "b2b", ttl: 1, keycloak: " alice" }, key);
    await fetch(`${url}/connections/alice`, { method: "DELETE", headers: key });
    expect(lines).toMatchObject([
      {
        code: "channel_forbidden",
        reason: "This key may not notify msf.",
        key: "orders",
        keycloak: ["alice"],
        channel: ["msf"],
      },
      { code: "invalid_body", reason: expect.stringContaining("keycloak: a keycloakID has"), key: "orders" },
      { code: "admin_required", key: "orders", route: "/connections/:keycloakID" },
    ]);
  });

  test("has the name of a key or WS token that has expired, and none if it is unknown", async () => {
    const { log, lines } = logReader();
    const clock = createClock();
    const expires_at = new Date(clock.now() + 60_000).toISOString();
    const toml = `[api_keys.old]\nkey = "${apiKey}"\nexpires_at = "${expires_at}"
      [ws_tokens.front]\ntoken = "${wsToken}"\nexpires_at = "${expires_at}"`;
    const { url } = await start({}, { log, toml, now: clock.now });
    clock.move(60_000);
    await post(url, { API_KEY: apiKey, msg: 1, channel: "msf" });
    await fetch(`${url}/connections`, { headers: { "X-API-Key": "never-configured-0123" } });
    await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${wsToken}` } });
    expect(lines.map(({ code, key: name, through }) => [code, name, through])).toEqual([
      ["api_key_invalid", "old", undefined],
      ["api_key_invalid", undefined, undefined],
      ["token_invalid", undefined, "ws_token front"],
    ]);
  });

  test("has the WS token with which a front service asked", async () => {
    const { log, said } = logReader();
    const { url } = await start({ AMPER_AUTHORIZE_RATE_PER_SECOND: "1", AMPER_AUTHORIZE_BURST: "1" }, { log });
    const ask = () => fetch(`${url}/authorize?keycloakID=alice`, { headers: { Authorization: `Bearer ${wsToken}` } });
    while ((await ask()).status !== 429);
    const [line] = await said("request refused");
    expect(line).toMatchObject({ code: "rate_limited", through: "ws_token front" });
  });
});

describe("the trace id of a request", () => {
  const valid = {
    "of a sampled one": traceparent,
    "of one that is not sampled": traceparent.replace(/01$/, "00"),
    "of a later version": `cc${traceparent.slice(2)}`,
    "of a later version that says more": `01${traceparent.slice(2)}-what-it-adds`,
  };
  for (const [name, header] of Object.entries(valid)) {
    test(`is taken over, ${name}`, async () => {
      const { log, said } = logReader();
      const { url } = await start({}, { log });
      await fetch(`${url}/nowhere`, { headers: { traceparent: header } });
      await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${wsToken}`, traceparent: header } });
      await fetch(`${url}/connections/alice`, {
        method: "DELETE",
        headers: { "X-API-Key": "unknown-key", traceparent: header },
      });
      expect(await said("request refused", 2)).toMatchObject([{ traceId: trace }, { traceId: trace }]);
      expect(await said("authorized")).toMatchObject([{ traceId: trace }]);
    });
  }

  const invalid = {
    "in capitals": traceparent.toUpperCase(),
    "of zeros": `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
    "with a parent of zeros": `00-${trace}-${"0".repeat(16)}-01`,
    "of version ff": `ff${traceparent.slice(2)}`,
    "of version 00 that says more": `${traceparent}-more`,
    "of two headers": `${traceparent}, ${traceparent}`,
    "too short": traceparent.slice(0, -1),
    "that is no hexadecimal number": traceparent.replace("4bf9", "4bg9"),
    "that is a line of its own": `00-${trace}-00f067aa0ba902b7-01"}`,
    empty: "",
  };
  for (const [name, header] of Object.entries(invalid)) {
    test(`is left out, ${name}`, async () => {
      const { log, said } = logReader();
      const { url } = await start({}, { log });
      expect((await fetch(`${url}/nowhere`, { headers: { traceparent: header } })).status).toBe(404);
      const [line] = await said("request refused");
      expect(line?.["traceId"]).toBeUndefined();
      expect(line?.["requestId"]).toBeString();
    });
  }
});

test("a key or WS token that somebody put where a name belongs is in no line", async () => {
  const { url, lines, kill, exited } = await launch({ env: { AMPER_LOG_LEVEL: "debug" } });
  await post(url, { msg: 1, keycloak: [apiKey, "alice"], channel: wsToken }, key);
  await post(url, { msg: 1, channel: apiKey }, { "X-API-Key": "unknown-key-0123", "X-Request-Id": apiKey });
  const { token } = await authorize(url, `?keycloakID=${wsToken}&sid=${apiKey}`);
  const { socket } = page(url, { token, keycloakID: wsToken, channel: apiKey });
  await next(socket, "connect");
  const gone = next(socket, "disconnect");
  await fetch(`${url}/connections/${wsToken}`, { method: "DELETE", headers: key });
  socket.disconnect();
  await gone;
  kill("SIGTERM");
  expect(await exited).toBe(0);
  const text = lines.join("\n");
  for (const event of ["notified", "request refused", "authorized", "connected", "disconnected"])
    expect(text).toContain(`"event":"${event}"`);
  expect(text).toContain('"keycloak":["(secret)","alice"]');
  for (const secret of [apiKey, wsToken]) expect(text).not.toContain(secret);
});
