import { afterEach, describe, expect, test } from "bun:test";
import * as v from "valibot";
import { authorize, connected, next, notify, page, transports, type Options, type Page } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { until } from "./support/raw.ts";
import { createClock, createKey, startRealm, user, type Minting } from "./support/realm.ts";
import { apiKey, authorizeWith, start } from "./support/service.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map(async (cleanup) => cleanup()));
});

const event = "http://schemas.openid.net/event/backchannel-logout";

async function setUp(env: Record<string, string> = {}) {
  const realm = await startRealm({ now: Date.now });
  cleanups.push(realm.stop);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer, ...env });
  const post = (body: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/backchannel-logout`, {
      method: "POST",
      headers: { "Content-Type": "application/x-www-form-urlencoded", ...headers },
      body,
    });
  const logout = async (claims: Record<string, unknown> = {}, minting?: Minting) =>
    post(`logout_token=${await realm.mintLogout(claims, minting)}`);
  /** A page of the user with a websocket token of a session of his. */
  const open = async (claims: Record<string, unknown> = {}, channel = "msf", options?: Options) => {
    const token = await authorizeWith(url, await realm.mint(claims));
    const sub = v.parse(v.optional(v.string(), user), claims["sub"]);
    return { ...(await connected(url, sub, channel, { token, ...options })), token };
  };
  return { realm, url, post, logout, open };
}

function ending({ socket }: Page): Promise<{ closing: unknown; reason: unknown }> {
  return Promise.all([next(socket, "closing"), next(socket, "disconnect")]).then(([closing, reason]) => ({
    closing,
    reason,
  }));
}

const revoked = { closing: { code: "revoked", reconnect: false }, reason: "io server disconnect" };

async function refusal(url: string, token: string): Promise<unknown> {
  return next(page(url, { token, keycloakID: user, channel: "msf" }).socket, "connect_error");
}

for (const [name, options] of Object.entries(transports)) {
  test(`a logout ends the connections of its session, on every channel, and they stay away, ${name}`, async () => {
    const { url, logout, open } = await setUp();
    const pages = [await open({}, "msf", options), await open({}, "b2b", options)];
    const other = await open({ sid: "another-session" }, "msf", options);
    const ends = pages.map(ending);
    const response = await logout();
    expect([response.status, response.headers.get("cache-control"), await response.text()]).toEqual([
      200,
      "no-store",
      "",
    ]);
    expect(await Promise.all(ends)).toEqual([revoked, revoked]);
    for (const { socket, token } of pages) {
      expect(socket.active).toBe(false);
      expect(await refusal(url, token)).toMatchObject({ data: { code: "revoked" } });
    }
    expect(await notify(url, { msg: "still there", keycloak: user })).toMatchObject({ connections: 1 });
    expect(await other.count(1)).toEqual(["still there"]);
  });
}

test("an access token of a session that was logged out authorizes no more; one of another session does", async () => {
  const { realm, url, logout } = await setUp();
  const ask = async (claims: Record<string, unknown>) =>
    fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${await realm.mint(claims)}` } });
  expect((await ask({})).status).toBe(200);
  await logout();
  const { detail } = await expectProblem(await ask({}), "token_invalid");
  expect(detail).toContain("logged out");
  expect((await ask({ sid: "another-session" })).status).toBe(200);
});

test("a logout without a session ends all of the user's, whoever authorized them, and nobody else's", async () => {
  const { url, realm, logout, open } = await setUp();
  const pages: Page[] = [await open(), await open({ sid: "another-session" }), await connected(url, user, "admin")];
  const bob = await open({ sub: "bob" });
  const ends = pages.map(ending);
  expect((await logout({ sid: undefined })).status).toBe(200);
  expect(await Promise.all(ends)).toEqual([revoked, revoked, revoked]);
  expect(bob.socket.connected).toBe(true);
  const old = await realm.mint({ iat: Math.floor(Date.now() / 1000) - 1 });
  await expectProblem(
    await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${old}` } }),
    "token_invalid",
  );
});

test("a logout of a session without a user ends it all the same", async () => {
  const { logout, open } = await setUp();
  const end = ending(await open());
  expect((await logout({ sub: undefined })).status).toBe(200);
  expect(await end).toEqual(revoked);
});

test("a repeated logout token does not end what the user has opened since", async () => {
  const { realm, url, post } = await setUp();
  const body = `logout_token=${await realm.mintLogout({ sid: undefined })}`;
  expect((await post(body)).status).toBe(200);
  const { token } = await authorize(url, `?keycloakID=${user}`);
  const since = await connected(url, user, "msf", { token });
  expect((await post(body)).status).toBe(200);
  expect(await notify(url, { msg: "here", keycloak: user })).toMatchObject({ connections: 1 });
  expect(await since.count(1)).toEqual(["here"]);
});

test("further parameters and members are ignored, and a charset is none of our business", async () => {
  const { realm, post } = await setUp();
  const token = await realm.mintLogout({ events: { [event]: { more: 1 }, "urn:other": {} }, more: [1] });
  const headers = { "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8" };
  expect((await post(`a=b&logout_token=${token}&c`, headers)).status).toBe(200);
});

describe("a logout token is refused", () => {
  const now = () => Math.floor(Date.now() / 1000);
  const refused: readonly (readonly [
    name: string,
    claims: () => Record<string, unknown>,
    header?: Record<string, unknown>,
  ])[] = [
    ["with a nonce", () => ({ nonce: "x" })],
    ["with a nonce that is null", () => ({ nonce: null })],
    ["without events", () => ({ events: undefined })],
    ["with another event", () => ({ events: { "urn:other": {} } })],
    ["with an event that is no object", () => ({ events: { [event]: "yes" } })],
    ["with an event that is a list", () => ({ events: { [event]: [] } })],
    ["without sub and sid", () => ({ sub: undefined, sid: undefined })],
    ["with nothing but a sub that is no keycloakID", () => ({ sub: "a\nb", sid: undefined })],
    ["with a sid that is no text", () => ({ sid: 7 })],
    ["without jti", () => ({ jti: undefined })],
    ["without iat", () => ({ iat: undefined })],
    ["without exp", () => ({ exp: undefined })],
    ["that has expired", () => ({ iat: now() - 300, exp: now() - 180 })],
    ["from the future", () => ({ iat: now() + 60, exp: now() + 180 })],
    ["from long ago, though it has not expired", () => ({ iat: now() - 3600, exp: now() + 3600 })],
    ["without aud", () => ({ aud: undefined })],
    ["with an empty aud", () => ({ aud: [] })],
    ["of another issuer", () => ({ iss: "https://evil.example/realms/amper" })],
    ["whose typ is that of something else", () => ({}), { typ: "at+jwt" }],
    ["with an unknown crit", () => ({}), { crit: ["urn:example:extension"], "urn:example:extension": true }],
  ];
  for (const [name, claims, header] of refused) {
    test(name, async () => {
      const { url, logout, open } = await setUp();
      await open();
      const response = await logout(claims(), header && { header });
      const error = v.parse(
        v.object({ error: v.string(), error_description: v.string() }),
        await response.clone().json(),
      );
      expect(error.error).toBe("invalid_request");
      const { detail } = await expectProblem(response, "logout_token_invalid");
      expect(error.error_description).toBe(detail);
      expect(response.headers.get("cache-control")).toBe("no-store");
      expect(await notify(url, { msg: 1, keycloak: user })).toMatchObject({ connections: 1 });
    });
  }

  test("that is signed by nobody, by another key, or is an access token", async () => {
    const { realm, url, logout, post, open } = await setUp();
    await open();
    const stranger = await createKey("ES256", realm.key.kid);
    await expectProblem(await logout({}, { key: stranger }), "logout_token_invalid");
    const [, payload] = (await realm.mintLogout()).split(".");
    const none = Buffer.from(JSON.stringify({ alg: "none", kid: realm.key.kid })).toString("base64url");
    await expectProblem(await post(`logout_token=${none}.${payload}.`), "logout_token_invalid");
    await expectProblem(await post(`logout_token=${await realm.mint()}`), "logout_token_invalid");
    await expectProblem(await post(`logout_token=${"a".repeat(20_000)}.b.c`), "logout_token_invalid");
    expect(await notify(url, { msg: 1, keycloak: user })).toMatchObject({ connections: 1 });
  });

  test("of a client whose logouts are not accepted: those of logout_clients are, or else those of clients", async () => {
    const { logout } = await setUp({ AMPER_KEYCLOAK_CLIENTS: "msf-web", AMPER_KEYCLOAK_LOGOUT_CLIENTS: "b2b-web" });
    await expectProblem(await logout({ aud: "msf-web" }), "logout_token_invalid");
    expect((await logout({ aud: "b2b-web" })).status).toBe(200);
    expect((await logout({ aud: ["other", "b2b-web"] })).status).toBe(200);
    const plain = await setUp({ AMPER_KEYCLOAK_CLIENTS: "msf-web" });
    expect((await plain.logout({ aud: "msf-web" })).status).toBe(200);
    await expectProblem(await plain.logout({ aud: "b2b-web" }), "logout_token_invalid");
  });
});

describe("a request for a logout", () => {
  test("needs one logout_token in a form", async () => {
    const { realm, post } = await setUp();
    const token = await realm.mintLogout();
    for (const body of [
      "",
      "logout_token=",
      "token=x",
      `logout_token=${token}&logout_token=${token}`,
      `{"logout_token":"${token}"}`,
    ]) {
      await expectProblem(await post(body), "logout_token_invalid");
    }
    await expectProblem(await post("{}", { "Content-Type": "application/json" }), "unsupported_media_type");
    await expectProblem(await post("a".repeat(70_000)), "too_large");
  });

  test("is no token in the query, and no GET", async () => {
    const { realm, url } = await setUp();
    const address = `${url}/backchannel-logout?logout_token=${await realm.mintLogout()}`;
    await expectProblem(await fetch(address, { method: "POST" }), "logout_token_invalid");
    await expectProblem(await fetch(address), "method_not_allowed");
  });

  test("is our fault while the realm's keys cannot be had: 503", async () => {
    const { realm, logout } = await setUp();
    await realm.stop();
    await expectProblem(await logout({}, { header: { kid: "new" } }), "unavailable");
  });

  test("that cannot be verified yet is kept until it can: nobody sends it again", async () => {
    const { realm, url, logout } = await setUp();
    await until("the keys are there", async () => (await fetch(`${url}/health/ready`)).status === 200);
    const { token } = await authorize(url, `?keycloakID=${user}`);
    const end = ending(await connected(url, user, "msf", { token }));
    realm.behave("error");
    await realm.rotate();
    await expectProblem(await logout({ sid: undefined }), "unavailable");
    realm.behave("well");
    expect(await end).toEqual(revoked);
  });

  test("signed by a key that is newer than what was looked for ends the session at once", async () => {
    const clock = createClock();
    const realm = await startRealm({ now: clock.now });
    cleanups.push(realm.stop);
    const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, { now: clock.now });
    const { token } = await authorize(url, `?keycloakID=${user}`);
    const end = ending(await connected(url, user, "msf", { token }));
    // Anybody may set off a look for an unknown key.
    const unknown = await realm.mint({}, { header: { kid: "unknown" } });
    await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${unknown}` } });
    await realm.rotate();
    const body = new URLSearchParams({ logout_token: await realm.mintLogout({ sid: undefined }) });
    expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
    expect(await end).toEqual(revoked);
  });

  test("has no address without a realm", async () => {
    const { url } = await start();
    await expectProblem(await fetch(`${url}/backchannel-logout`, { method: "POST" }), "not_found");
  });
});

test("what was logged out is counted, and an operator's revocation, too", async () => {
  const { url, logout } = await setUp();
  await logout();
  await logout({ sid: undefined });
  await fetch(`${url}/connections/${user}`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  for (const cause of ["session_logout", "user_logout", "operator"])
    expect(metrics).toContain(`amper_revocations_total{cause="${cause}"} 1`);
  expect(metrics).toContain("amper_revocations 2\n");
  expect(metrics).toContain("amper_revocations_unsaved 0\n");
});
