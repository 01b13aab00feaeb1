import { describe, expect, test } from "bun:test";
import { decodeJwt, jwtVerify } from "jose";
import { authorize, connected } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { createClock } from "./support/realm.ts";
import { start, wsToken } from "./support/service.ts";

const secret = "0123456789abcdef0123456789abcdef";

function ask(url: string, token: string | undefined, query = ""): Promise<Response> {
  return fetch(`${url}/authorize${query}`, {
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
  });
}

describe("with a WS token", () => {
  test("an unbound token, and one bound to a user", async () => {
    const { url } = await start();
    const response = await ask(url, wsToken);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toMatchObject({ expiresIn: 36000, keycloakID: null, channels: "*" });
    expect(await authorize(url, "?keycloakID=alice")).toMatchObject({ keycloakID: "alice", channels: "*" });
  });

  test("expiresAt is when the JWT ends, and any JWT library can read it", async () => {
    const { url } = await start({ AMPER_TOKEN_SECRET: secret, AMPER_TOKEN_TTL_SECONDS: "60" });
    const { token, expiresIn, expiresAt } = await authorize(url, "?keycloakID=alice");
    const { payload } = await jwtVerify(token, new TextEncoder().encode(secret), { algorithms: ["HS256"] });
    expect(payload).toMatchObject({ iss: "amper-channels", sub: "alice", channels: "*" });
    expect(new Date((payload.exp ?? 0) * 1000).toISOString()).toBe(expiresAt);
    expect(expiresIn).toBe(60);
  });

  test("limited to channels: the issued token is, too", async () => {
    const toml = "[ws_tokens.front]\ntoken = 'scoped-token-0123456789'\nchannels = ['msf']";
    const { url } = await start({}, { toml });
    const { token, channels } = await authorize(url, "", "scoped-token-0123456789");
    expect(channels).toEqual(["msf"]);
    await connected(url, "alice", "msf", { token });
    await expect(connected(url, "alice", "b2b", { token })).rejects.toMatchObject({
      data: { code: "channel_forbidden" },
    });
  });

  test("require_bound_tokens, for all or on one WS token, refuses an unbound one", async () => {
    const forAll = await start({ AMPER_REQUIRE_BOUND_TOKENS: "true" });
    await expectProblem(await ask(forAll.url, wsToken), "unbound_forbidden");
    expect((await ask(forAll.url, wsToken, "?keycloakID=alice")).status).toBe(200);
    const toml = "[ws_tokens.strict]\ntoken = 'strict-token-0123456789'\nrequire_bound_tokens = true";
    const forOne = await start({}, { toml: `${toml}\n[ws_tokens.front]\ntoken = '${wsToken}'` });
    await expectProblem(await ask(forOne.url, "strict-token-0123456789"), "unbound_forbidden");
    expect((await ask(forOne.url, wsToken)).status).toBe(200);
  });

  test("a keycloakID that is none, or that comes twice, is 400", async () => {
    const { url } = await start();
    for (const query of [
      "?keycloakID=",
      "?keycloakID=a%20",
      "?keycloakID=a%ff",
      "?keycloakID=a&keycloakID=b",
      `?keycloakID=${"x".repeat(129)}`,
    ]) {
      const { errors } = await expectProblem(await ask(url, wsToken, query), "invalid_request");
      expect(errors?.[0]?.path).toBe("keycloakID");
    }
  });
});

test("a bad or missing token is 401 with a challenge; tokens in the query are never read", async () => {
  const { url } = await start();
  const expired = await start(
    {},
    { toml: "[ws_tokens.old]\ntoken = 'old-token-0123456789'\nexpires_at = '2020-01-01T00:00:00Z'" },
  );
  const missing = [
    await ask(url, undefined),
    await ask(url, undefined, `?token=${wsToken}&access_token=${wsToken}`),
    await fetch(`${url}/authorize`, { headers: { Authorization: `Basic ${btoa(`front:${wsToken}`)}` } }),
    await fetch(`${url}/authorize`, { headers: { Authorization: wsToken } }),
  ];
  for (const response of missing) {
    expect(response.headers.get("www-authenticate")).toBe('Bearer realm="amper-channels"');
    await expectProblem(response, "token_invalid");
  }
  const bad = [
    await ask(url, "wrong"),
    await ask(url, "a.b.c"),
    await ask(url, `${wsToken}x`),
    await ask(expired.url, "old-token-0123456789"),
  ];
  for (const response of bad) {
    expect(response.headers.get("www-authenticate")).toStartWith('Bearer error="invalid_token"');
    await expectProblem(response, "token_invalid");
  }
});

test("a websocket token ends with the WS token that it was issued through", async () => {
  const clock = createClock();
  const expiresAt = new Date(clock.now() + 90_000).toISOString();
  const toml = `[ws_tokens.front]\ntoken = "${wsToken}"\nexpires_at = "${expiresAt}"`;
  const { url } = await start({}, { toml, now: clock.now });
  expect(await authorize(url)).toMatchObject({ expiresIn: 90, expiresAt });
});

test("a token_ttl_seconds that was made shorter counts for tokens that are out", async () => {
  const clock = createClock();
  const env = { AMPER_TOKEN_SECRET: secret };
  const { token } = await authorize((await start({ ...env, AMPER_TOKEN_TTL_SECONDS: "3600" }, { now: clock.now })).url);
  const { url } = await start({ ...env, AMPER_TOKEN_TTL_SECONDS: "60" }, { now: clock.now });
  await connected(url, "alice", "msf", { token });
  clock.move(60_000);
  await expect(connected(url, "alice", "msf", { token })).rejects.toMatchObject({ data: { code: "token_expired" } });
});

test("a websocket token tells pages nothing of the WS token or realm that it was issued through", async () => {
  const { url } = await start();
  const { token } = await authorize(url);
  const { via, ...rest } = decodeJwt(token);
  const number = expect.any(Number);
  expect(rest).toEqual({ iss: "amper-channels", channels: "*", iat: number, exp: number, stamp: number, up: number });
  const digest = new Bun.CryptoHasher("sha256").update(wsToken);
  expect(via).toMatch(/^[\w-]{16}$/);
  expect(digest.copy().digest("base64url")).not.toContain(String(via));
  expect(digest.digest("hex")).not.toContain(String(via));
});

describe("token secrets", () => {
  test("the first signs, all verify: tokens outlive a rotation", async () => {
    const rotated = "fedcba9876543210fedcba9876543210";
    const { token } = await authorize((await start({ AMPER_TOKEN_SECRET: secret })).url);
    const { url } = await start({ AMPER_TOKEN_SECRET: `${rotated},${secret}` });
    await connected(url, "alice", "msf", { token });
    const later = await start({ AMPER_TOKEN_SECRET: rotated });
    await expect(connected(later.url, "alice", "msf", { token })).rejects.toMatchObject({
      data: { code: "token_invalid" },
    });
    await connected(later.url, "alice", "msf", { token: (await authorize(url)).token });
  });

  test("none configured: each start has its own", async () => {
    const { token } = await authorize((await start()).url);
    await expect(connected((await start()).url, "alice", "msf", { token })).rejects.toMatchObject({
      data: { code: "token_invalid" },
    });
  });
});
