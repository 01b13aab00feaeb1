import { describe, expect, test } from "bun:test";
import { authorize, connected, next, notify, page, post, transports } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, metric, noSessions } from "./support/raw.ts";
import { createClock, startRealm } from "./support/realm.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

const behindProxy = { AMPER_TRUST_PROXY_HOPS: "1", AMPER_METRICS_OPEN: "true" };
const from = (address: string) => ({ "X-Forwarded-For": address });

/** A service whose clock stands still: a limit that is met stays met. */
async function setUp(env: Record<string, string> = {}, toml?: string) {
  const clock = createClock();
  const service = await start({ ...behindProxy, ...env }, { now: clock.now, ...(toml !== undefined && { toml }) });
  const { url } = service;
  const ask = (token: string, address: string, path = "/authorize") =>
    fetch(`${url}${path}`, { headers: { Authorization: `Bearer ${token}`, ...from(address) } });
  const send = (key: string, address: string) => post(url, { API_KEY: key, msg: 1, channel: "msf" }, from(address));
  /** How often a limit was met. */
  const met = (limit: string) => metric(url, `amper_limited_total{limit="${limit}"}`);
  return { url, clock, ask, send, met };
}

/** An Engine.IO session that sends no CONNECT. */
async function handshake(url: string, address: string): Promise<Response> {
  return fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers: from(address) });
}

async function sidOf(response: Response): Promise<string> {
  return /"sid":"([^"]+)"/.exec(await response.text())?.[1] ?? "";
}

async function isOpen(url: string, sid: string): Promise<boolean> {
  // A second poll beside the one that waits would end the session: a POST of a heartbeat's answer is harmless.
  const response = await fetch(`${url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "3" });
  return response.status === 200;
}

describe("failed authentications", () => {
  const limit = { AMPER_AUTH_FAILURES_PER_MINUTE: "5" };

  test("make others from their address wait, with one answer to all of them; other addresses do not", async () => {
    const { url, clock, ask, send, met } = await setUp(limit);
    for (let i = 0; i < 3; i++) await expectProblem(await send("wrong", "192.0.2.1"), "api_key_invalid");
    for (let i = 0; i < 2; i++) await expectProblem(await ask("wrong", "192.0.2.1"), "token_invalid");
    const answers = [
      await send("wrong", "192.0.2.1"),
      await ask("wrong", "192.0.2.1"),
      await ask("wrong", "192.0.2.1", "/connections"),
      await ask("wrong", "192.0.2.1", "/connections/alice"),
      await fetch(`${url}/connections/alice`, {
        method: "DELETE",
        headers: { "X-API-Key": "wrong", ...from("192.0.2.1") },
      }),
    ];
    for (const answer of answers) expect(answer.headers.get("retry-after")).toBe("12");
    const bodies = await Promise.all(answers.map((answer) => expectProblem(answer, "rate_limited")));
    expect(new Set(bodies.map((body) => JSON.stringify(body))).size).toBe(1);
    expect(await met("auth_failures_per_minute")).toBe(answers.length);

    await expectProblem(await send("wrong", "192.0.2.2"), "api_key_invalid");
    clock.move(12_000);
    await expectProblem(await send("wrong", "192.0.2.1"), "api_key_invalid");
    await expectProblem(await send("wrong", "192.0.2.1"), "rate_limited");
  });

  test("count where a page connects, too", async () => {
    const { url, send } = await setUp(limit);
    const bad = { token: "nonsense", keycloakID: "alice", channel: "msf" };
    for (let i = 0; i < 5; i++) {
      const { socket } = page(url, bad, { extraHeaders: from("192.0.2.1"), transports: ["polling"] });
      expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "token_invalid" } });
    }
    await expectProblem(await send("wrong", "192.0.2.1"), "rate_limited");
  });

  test("are none without a credential, or with one that is genuine but expired, revoked or for something else", async () => {
    const { url, clock, ask } = await setUp({ ...limit });
    const realm = await startRealm({ now: clock.now });
    try {
      const service = await start(
        { ...limit, ...behindProxy, AMPER_KEYCLOAK_ISSUER: realm.issuer },
        { now: clock.now },
      );
      const old = await realm.mint();
      clock.move(400_000);
      for (let i = 0; i < 6; i++) {
        for (const token of [old, await realm.mint({ aud: "another-service" }), await realm.mint({ typ: "ID" })]) {
          const headers = { Authorization: `Bearer ${token}`, ...from("192.0.2.1") };
          await expectProblem(await fetch(`${service.url}/authorize`, { headers }), "token_invalid");
        }
        await expectProblem(await fetch(`${url}/authorize`, { headers: from("192.0.2.1") }), "token_invalid");
        await expectProblem(await post(url, { msg: 1, channel: "msf" }, from("192.0.2.1")), "api_key_invalid");
        await expectProblem(await fetch(`${url}/connections`, { headers: from("192.0.2.1") }), "api_key_invalid");
      }
      await expectProblem(await ask("wrong", "192.0.2.1"), "token_invalid");
      const forged = `${(await realm.mint()).slice(0, -9)}AAAAAAAAA`;
      const headers = { Authorization: `Bearer ${forged}`, ...from("192.0.2.1") };
      for (let i = 0; i < 5; i++) {
        await expectProblem(await fetch(`${service.url}/authorize`, { headers }), "token_invalid");
      }
      await expectProblem(await fetch(`${service.url}/authorize`, { headers }), "rate_limited");
    } finally {
      await realm.stop();
    }
  });

  test("are none with a key or a WS token that has expired", async () => {
    const end = `expires_at = "2020-01-01T00:00:00Z"`;
    const toml = `[api_keys]\nold = { key = "old-key-0123456789", ${end} }\nnew = { key = "${apiKey}" }
[ws_tokens]\nold = { token = "old-token-0123456789", ${end} }\nnew = { token = "${wsToken}" }`;
    const { ask, send } = await setUp(limit, toml);
    for (let i = 0; i < 6; i++) {
      await expectProblem(await send("old-key-0123456789", "192.0.2.1"), "api_key_invalid");
      await expectProblem(await ask("old-key-0123456789", "192.0.2.1", "/connections"), "api_key_invalid");
      await expectProblem(await ask("old-token-0123456789", "192.0.2.1"), "token_invalid");
    }
    await expectProblem(await send("wrong", "192.0.2.1"), "api_key_invalid");
  });

  test("cannot be hidden behind a forged X-Forwarded-For, nor blamed on another address", async () => {
    const { send } = await setUp(limit);
    for (let i = 0; i < 5; i++) await send("wrong", `203.0.113.${i}, 198.51.100.7, 192.0.2.1`);
    await expectProblem(await send("wrong", "203.0.113.99, 192.0.2.1"), "rate_limited");
    await expectProblem(await send("wrong", "203.0.113.1"), "api_key_invalid");
    await expectProblem(await send("wrong", "198.51.100.7"), "api_key_invalid");
  });

  test("of an IPv6 network count together", async () => {
    const { send } = await setUp(limit);
    for (let i = 0; i < 5; i++) await send("wrong", `2001:db8:1:2:${i}::${i}`);
    await expectProblem(await send("wrong", "2001:db8:1:2:ffff::1"), "rate_limited");
    await expectProblem(await send("wrong", "2001:db8:1:3::1"), "api_key_invalid");
  });

  test("behind a proxy that is not declared make nobody wait, and the log says once what to do", async () => {
    const warnings: unknown[] = [];
    const quiet = { error() {}, info() {}, debug() {}, crash() {}, flush: async () => {} };
    const log = { ...quiet, warn: (event: string, fields?: object) => void warnings.push({ event, ...fields }) };
    const { url } = await start(limit, { now: createClock().now, log });
    const send = (key: string) => post(url, { API_KEY: key, msg: 1, channel: "msf" }, from("192.0.2.1"));
    for (let i = 0; i < 10; i++) await expectProblem(await send("wrong"), "api_key_invalid");
    expect((await send(apiKey)).status).toBe(200);
    expect(warnings).toEqual([expect.objectContaining({ reason: expect.stringContaining("trust_proxy_hops") })]);
  });
});

describe("/notify", () => {
  test("has a rate and a burst for each key", async () => {
    const toml = `[api_keys]\none = { key = "key-one-0123456789" }\ntwo = { key = "key-two-0123456789" }`;
    const { clock, send, met } = await setUp({ AMPER_NOTIFY_RATE_PER_SECOND: "2", AMPER_NOTIFY_BURST: "4" }, toml);
    const statuses = async (key: string, count: number) =>
      Array.fromAsync({ length: count }, async () => (await send(key, "192.0.2.1")).status);
    expect(await statuses("key-one-0123456789", 6)).toEqual([200, 200, 200, 200, 429, 429]);
    expect(await statuses("key-two-0123456789", 1)).toEqual([200]);
    const refused = await send("key-one-0123456789", "192.0.2.1");
    expect(refused.headers.get("retry-after")).toBe("1");
    await expectProblem(refused, "rate_limited");
    clock.move(1000);
    expect(await statuses("key-one-0123456789", 3)).toEqual([200, 200, 429]);
    expect(await met("notify_rate_per_second")).toBe(4);
  });

  test("lets a key have a rate of its own, above or below the general one, or below one a second", async () => {
    const toml = `
[api_keys]
slow = { key = "key-slow-0123456789", rate_per_second = 0.5 }
fast = { key = "key-fast-0123456789", rate_per_second = 5, burst = 7 }`;
    const { clock, send, met } = await setUp({ AMPER_NOTIFY_RATE_PER_SECOND: "3", AMPER_NOTIFY_BURST: "3" }, toml);
    const accepted = async (key: string) => {
      const statuses = await Array.fromAsync({ length: 10 }, async () => (await send(key, "192.0.2.1")).status);
      return statuses.filter((status) => status === 200).length;
    };
    expect([await accepted("key-slow-0123456789"), await accepted("key-fast-0123456789")]).toEqual([1, 7]);
    const refused = await send("key-slow-0123456789", "192.0.2.1");
    expect(refused.headers.get("retry-after")).toBe("2");
    clock.move(2000);
    expect([await accepted("key-slow-0123456789"), await accepted("key-fast-0123456789")]).toEqual([1, 7]);
    expect(await met("rate_per_second")).toBe(9 + 3 + 1 + 9 + 3);
  });
});

describe("/authorize", () => {
  test("has a rate and a burst for each address", async () => {
    const { clock, ask, met } = await setUp({ AMPER_AUTHORIZE_RATE_PER_SECOND: "1", AMPER_AUTHORIZE_BURST: "2" });
    for (const status of [200, 200, 429]) expect((await ask(wsToken, "192.0.2.1")).status).toBe(status);
    expect((await ask(wsToken, "192.0.2.2")).status).toBe(200);
    clock.move(1000);
    for (const status of [200, 429]) expect((await ask(wsToken, "192.0.2.1")).status).toBe(status);
    expect(await met("authorize_rate_per_second")).toBe(2);
  });

  test("lets a WS token have a rate of its own", async () => {
    const toml = `[ws_tokens.front]\ntoken = "${wsToken}"\nrate_per_second = 2\n`;
    const { ask } = await setUp({}, toml);
    const statuses = await Array.fromAsync({ length: 3 }, async (_, i) => (await ask(wsToken, `192.0.2.${i}`)).status);
    expect(statuses).toEqual([200, 200, 429]);
  });
});

describe("connections", () => {
  for (const [name, options] of Object.entries(transports)) {
    test(`have a rate of handshakes for each address; who is over it comes back by itself, ${name}`, async () => {
      const { url, clock, met } = await setUp({ AMPER_HANDSHAKE_RATE_PER_SECOND: "1", AMPER_HANDSHAKE_BURST: "2" });
      const extraHeaders = from("192.0.2.1");
      await connected(url, "alice", "msf", { ...options, extraHeaders });
      await connected(url, "alice", "msf", { ...options, extraHeaders });
      await connected(url, "alice", "msf", { ...options, extraHeaders: from("192.0.2.2") });
      const { token } = await authorize(url);
      const third = page(url, { token, keycloakID: "alice", channel: "msf" }, { ...options, extraHeaders });
      await next(third.socket, "connect_error");
      expect(third.socket.active).toBe(true);
      clock.move(60_000);
      await next(third.socket, "connect");
      expect(await met("handshake_rate_per_second")).toBeGreaterThan(0);
    });

    test(`of one address are limited; who is over it comes back as soon as there is room, ${name}`, async () => {
      const { url, met } = await setUp({ AMPER_MAX_CONNECTIONS_PER_ADDRESS: "1" });
      const extraHeaders = from("192.0.2.1");
      const first = await connected(url, "alice", "msf", { ...options, extraHeaders });
      await connected(url, "alice", "msf", { ...options, extraHeaders: from("192.0.2.2") });
      const { token } = await authorize(url);
      const second = page(url, { token, keycloakID: "bob", channel: "msf" }, { ...options, extraHeaders });
      await next(second.socket, "connect_error");
      expect(second.socket.active).toBe(true);
      first.socket.disconnect();
      await next(second.socket, "connect");
      expect(await met("max_connections_per_address")).toBeGreaterThan(0);
    });
  }

  test("that poll are limited; websockets are not", async () => {
    const { url, met } = await setUp({ AMPER_MAX_POLLING: "1" });
    const first = await connected(url, "alice", "msf", { transports: ["polling"] });
    await connected(url, "alice", "msf", { transports: ["websocket"] });
    const { token } = await authorize(url);
    const second = page(url, { token, keycloakID: "bob", channel: "msf" }, { transports: ["polling"] });
    await next(second.socket, "connect_error");
    expect(second.socket.active).toBe(true);
    first.socket.disconnect();
    await next(second.socket, "connect");
    expect(await met("max_polling")).toBeGreaterThan(0);
  });
});

describe("connections that have not authenticated", () => {
  test("of one address are limited, and count no more once they have, or are gone", async () => {
    const { url, met } = await setUp({ AMPER_MAX_UNAUTHENTICATED_PER_ADDRESS: "2" });
    const sids = [await sidOf(await handshake(url, "192.0.2.1")), await sidOf(await handshake(url, "192.0.2.1"))];
    // One leaves.
    await fetch(`${url}/socket.io/?EIO=4&transport=polling&sid=${sids[0]}`, { method: "POST", body: "1" });
    const extraHeaders = from("192.0.2.1");
    for (let i = 0; i < 5; i++) await connected(url, "alice", "msf", { extraHeaders });
    expect(await notify(url, { msg: 1, channel: "msf" })).toMatchObject({ connections: 5 });
    expect(await isOpen(url, sids[1] ?? "")).toBe(true);
    expect(await met("max_unauthenticated_per_address")).toBe(0);
  });

  test("make way, the oldest first, when there are too many: a good client gets in whatever a flood does", async () => {
    const { url, met } = await setUp({ AMPER_MAX_UNAUTHENTICATED: "3" });
    const alice = await connected(url, "alice", "msf");
    const sids: string[] = [];
    for (let i = 0; i < 5; i++) sids.push(await sidOf(await handshake(url, `192.0.2.${i}`)));
    const open = await Promise.all(sids.map((sid) => isOpen(url, sid)));
    expect(open).toEqual([false, false, true, true, true]);
    await connected(url, "bob", "msf");
    expect(await notify(url, { msg: "both", channel: "msf" })).toMatchObject({ connections: 2 });
    expect(await alice.count(1)).toEqual(["both"]);
    expect(await met("max_unauthenticated")).toBeGreaterThanOrEqual(3);
  });

  test("that were refused and never fetch it make way, too, and end after connect_timeout_ms", async () => {
    const { url } = await setUp({ AMPER_MAX_UNAUTHENTICATED: "3", AMPER_CONNECT_TIMEOUT_MS: "200" });
    const sids: string[] = [];
    for (let i = 0; i < 6; i++) {
      const sid = await sidOf(await handshake(url, `192.0.2.${i}`));
      // A CONNECT without a token, whose refusal waits for a poll that does not come.
      await fetch(engineUrl(url, "polling", sid), { method: "POST", body: "40" });
      sids.push(sid);
      expect(await metric(url, "amper_sessions")).toBeLessThanOrEqual(3);
    }
    await noSessions(url);
  });

  test("are ended after connect_timeout_ms", async () => {
    const { url } = await start({ AMPER_CONNECT_TIMEOUT_MS: "100" });
    const { socket } = page(url, (_send) => {}, { transports: ["websocket"] });
    const closed = new Promise((resolve) => socket.io.once("close", resolve));
    expect(await closed).toBe("transport close");
  });
});
