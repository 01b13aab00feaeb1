import { afterEach, describe, expect, test } from "bun:test";
import { authorize, connected, next, page, post, transports } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { createClock, startRealm, type Realm } from "./support/realm.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** An address is often shared (an office, a cluster, a NAT): one of its holders must not shut out the others. */

const most = 5;
const shared = { "X-Forwarded-For": "192.0.2.1" };
const metricsToken = "metrics-token-0123456789";

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((realm) => realm.stop()));
});

/** A service whose clock stands still: a limit that is met stays met. */
async function setUp(env: Record<string, string> = {}) {
  const clock = createClock();
  const realm = await startRealm({ now: clock.now });
  realms.push(realm);
  const { url } = await start(
    {
      AMPER_TRUST_PROXY_HOPS: "1",
      AMPER_AUTH_FAILURES_PER_MINUTE: String(most),
      AMPER_METRICS_TOKEN: metricsToken,
      AMPER_KEYCLOAK_ISSUER: realm.issuer,
      ...env,
    },
    { now: clock.now },
  );
  const ask = (path: string, token: string, init: RequestInit = {}) =>
    fetch(url + path, { ...init, headers: { Authorization: `Bearer ${token}`, ...shared } });
  const send = (key: string) => post(url, { API_KEY: key, msg: 1, channel: "msf" }, shared);
  const forged = async () => `${(await realm.mint()).slice(0, -9)}AAAAAAAAA`;
  /** Brings as many bad keys as the address may, and more. */
  const fail = async () => {
    for (let i = 0; i < most; i++) await expectProblem(await send("old-key-0123456789"), "api_key_invalid");
    await expectProblem(await send("old-key-0123456789"), "rate_limited");
  };
  return { url, clock, realm, ask, send, forged, fail };
}

/** How often a limit was met. */
async function met(url: string, limit: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { headers: { Authorization: `Bearer ${metricsToken}` } })).text();
  return Number(new RegExp(`^amper_limited_total\\{limit="${limit}"\\} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}

describe("beside one who goes on failing at the same address", () => {
  test("every call with a good key passes, however many bad ones come in between", async () => {
    const { url, send } = await setUp();
    const statuses = await Array.fromAsync({ length: 132 }, async () => ({
      bad: (await send("old-key-0123456789")).status,
      good: (await send(apiKey)).status,
    }));
    expect(statuses.filter(({ good }) => good === 200)).toHaveLength(132);
    expect(statuses.filter(({ bad }) => bad === 401)).toHaveLength(most);
    expect(statuses.filter(({ bad }) => bad === 429)).toHaveLength(132 - most);
    expect(await met(url, "auth_failures_per_minute")).toBe(132 - most);
  });

  test("a good credential passes wherever one is judged", async () => {
    const { url, realm, ask, fail } = await setUp();
    await fail();
    const body = JSON.stringify({ msg: 1, channel: "msf" });
    for (const [what, good] of [
      ["key in the body", post(url, { API_KEY: apiKey, msg: 1, channel: "msf" }, shared)],
      ["key in X-API-Key", post(url, body, { "X-API-Key": apiKey, ...shared })],
      ["key as a bearer token", ask("/notify", apiKey, { method: "POST", body })],
      ["totals", ask("/connections", apiKey)],
      ["a user's connections", ask("/connections/alice", apiKey)],
      ["metrics", ask("/metrics", metricsToken)],
      ["WS token", ask("/authorize", wsToken)],
      ["WS token, bound", ask("/authorize?keycloakID=alice", wsToken)],
      ["access token", ask("/authorize", await realm.mint())],
    ] as const) {
      expect([what, (await good).status]).toEqual([what, 200]);
    }
  });

  test("a bad one is answered 429 wherever one is judged, until the minute has room again", async () => {
    const { url, clock, ask, send, forged, fail } = await setUp();
    await fail();
    const bad = "wrong-0123456789";
    const answers = [
      await send(bad),
      await post(url, { msg: 1, channel: "msf" }, { "X-API-Key": bad, ...shared }),
      await ask("/connections", bad),
      await ask("/connections/alice", bad, { method: "DELETE" }),
      await ask("/metrics", bad),
      await ask("/authorize", bad),
      await ask("/authorize", await forged()),
    ];
    for (const answer of answers) {
      expect(answer.headers.get("retry-after")).toBe("12");
      await expectProblem(answer, "rate_limited");
    }
    clock.move(12_000);
    await expectProblem(await send(bad), "api_key_invalid");
    await expectProblem(await ask("/authorize", bad), "rate_limited");
  });

  for (const [name, options] of Object.entries(transports)) {
    test(`a page connects, ${name}`, async () => {
      const { url, fail } = await setUp();
      await fail();
      const bad = page(
        url,
        { token: "nonsense", keycloakID: "alice", channel: "msf" },
        { ...options, extraHeaders: shared },
      );
      // For good: the page must not come again and again with it.
      expect(await next(bad.socket, "connect_error")).toMatchObject({ data: { code: "token_invalid" } });
      expect(bad.socket.active).toBe(false);
      await connected(url, "alice", "msf", { ...options, extraHeaders: shared });
    });
  }

  test("calls without a credential, or with one that is not ours to guess, are answered as ever", async () => {
    const { url, clock, realm, ask, fail } = await setUp();
    const { token } = await authorize(url);
    const old = await realm.mint();
    clock.move(400_000);
    await fail();
    await expectProblem(await fetch(`${url}/authorize`, { headers: shared }), "token_invalid");
    await expectProblem(await post(url, { msg: 1, channel: "msf" }, shared), "api_key_invalid");
    await expectProblem(await ask("/authorize", old), "token_invalid");
    await expectProblem(await ask("/authorize", token), "token_invalid");
  });
});

describe("the rate of /authorize", () => {
  const rate = { AMPER_AUTHORIZE_RATE_PER_SECOND: "1", AMPER_AUTHORIZE_BURST: "3" };

  test("is not used up by calls that bring nothing good, and can be refused at no cost", async () => {
    const { url, ask } = await setUp(rate);
    for (let i = 0; i < 20; i++) {
      await (await fetch(`${url}/authorize`, { headers: shared })).text();
      await (await ask("/authorize", "wrong-0123456789")).text();
    }
    for (const status of [200, 200, 200, 429]) expect((await ask("/authorize", wsToken)).status).toBe(status);
  });

  test("bounds the signatures that are verified, and leaves room for WS tokens meanwhile", async () => {
    const { url, clock, realm, ask, forged } = await setUp({ ...rate, AMPER_AUTH_FAILURES_PER_MINUTE: "1000" });
    const statuses = await Array.fromAsync({ length: 6 }, async () => (await ask("/authorize", await forged())).status);
    expect(statuses).toEqual([401, 401, 401, 429, 429, 429]);
    expect(await met(url, "authorize_rate_per_second")).toBe(3);
    expect((await ask("/authorize", wsToken)).status).toBe(200);
    expect((await ask("/authorize", await realm.mint())).status).toBe(429);
    clock.move(1000);
    expect((await ask("/authorize", await realm.mint())).status).toBe(200);
  });

  test("counts good calls of both kinds together", async () => {
    const { realm, ask } = await setUp(rate);
    const tokens = [wsToken, await realm.mint(), wsToken, await realm.mint(), wsToken];
    const statuses = await Array.fromAsync(tokens, async (token) => (await ask("/authorize", token)).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
  });
});
