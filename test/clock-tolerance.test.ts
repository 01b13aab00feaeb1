import { afterEach, describe, expect, test } from "bun:test";
import { createClocks } from "./support/clocks.ts";
import { connected, next } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user } from "./support/realm.ts";
import { apiKey, authorizeWith, start } from "./support/service.ts";

/** How far the clocks of Keycloak and the service may differ, for every token of Keycloak and every time in it. */

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((cleanup) => cleanup()));
});

async function setUp(tolerance: number | undefined, ahead_seconds: number) {
  const clocks = createClocks();
  const realm = await startRealm({ now: () => clocks.now() + ahead_seconds * 1000 });
  cleanups.push(realm.stop);
  const env = tolerance === undefined ? {} : { AMPER_CLOCK_TOLERANCE_SECONDS: String(tolerance) };
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer, ...env }, clocks);
  const login = (token: string) => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  const logout = async (claims: Record<string, unknown> = {}) =>
    fetch(`${url}/backchannel-logout`, {
      method: "POST",
      body: new URLSearchParams({ logout_token: await realm.mintLogout(claims) }),
    });
  const end = () =>
    fetch(`${url}/connections/${user}`, { method: "DELETE", headers: { Authorization: `Bearer ${apiKey}` } });
  return { clocks, realm, url, login, logout, end };
}

const seconds = (ms: number): number => Math.floor(ms / 1000);

describe.each([
  [undefined, 4, 10],
  [15, 10, 20],
  [15, 14, 17],
  [0, 0, 2],
  [120, 100, 130],
])("with a tolerance of %p s", (tolerance, within, beyond) => {
  test(`a realm that is ${within} s ahead is followed, one that is ${beyond} s ahead is not`, async () => {
    const good = await setUp(tolerance, within);
    expect((await good.login(await good.realm.mint())).status).toBe(200);
    expect((await good.logout()).status).toBe(200);
    const bad = await setUp(tolerance, beyond);
    // First: a token that it signed would show the clock of the realm, by which a logout is judged as well.
    const refused = await bad.logout();
    expect(refused.status).toBe(400);
    expect(await refused.text()).toContain("clock_tolerance_seconds");
    const { detail } = await expectProblem(await bad.login(await bad.realm.mint()), "token_invalid");
    expect(detail).toContain("clock_tolerance_seconds");
  });

  test("`nbf` counts by it, and the end of a token, too", async () => {
    const { clocks, realm, login, logout } = await setUp(tolerance, 0);
    const now = seconds(clocks.now());
    const before = now - 200;
    for (const [off, status] of [
      [within, 200],
      [beyond, 401],
    ] as const) {
      expect((await login(await realm.mint({ nbf: now + off }))).status).toBe(status);
      // To the second in which it ends it is not valid any more.
      expect((await login(await realm.mint({ iat: before, exp: now + 1 - off }))).status).toBe(status);
      const ended = await logout({ iat: before, exp: now + 1 - off, jti: `${off}` });
      expect(ended.status).toBe(status === 200 ? 200 : 400);
    }
  });
});

describe.each([10, -10])("a user of a realm whose clock differs by %i s", (ahead) => {
  test("is ended for good by `DELETE`, by each token from before, seen or not, and may log in again", async () => {
    const { clocks, realm, url, login, end } = await setUp(15, ahead);
    // Two logins show the clock of the realm.
    await authorizeWith(url, await realm.mint());
    clocks.pass(10_000);
    const seen = await realm.mint();
    const token = await authorizeWith(url, seen);
    const unseen = await realm.mint({ sid: "another-session" });
    const { socket } = await connected(url, user, "msf", { token });
    const closing = next(socket, "closing");
    expect((await end()).status).toBe(200);
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
    for (const old of [seen, unseen]) await expectProblem(await login(old), "token_invalid");
    clocks.pass(2000);
    for (const old of [seen, unseen]) await expectProblem(await login(old), "token_invalid");
    expect((await login(await realm.mint())).status).toBe(200);
  });

  test("is ended by a logout up to its moment, and may log in again", async () => {
    const { clocks, realm, url, login, logout } = await setUp(15, ahead);
    const seen = await realm.mint();
    const token = await authorizeWith(url, seen);
    const unseen = await realm.mint();
    const { socket } = await connected(url, user, "msf", { token });
    const closing = next(socket, "closing");
    expect((await logout()).status).toBe(200);
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
    for (const old of [seen, unseen]) await expectProblem(await login(old), "token_invalid");
    clocks.pass(2000);
    expect((await login(await realm.mint())).status).toBe(200);
  });
});

test("a logout that comes again as long as it could be valid ends nothing that came after it", async () => {
  const { clocks, realm, url } = await setUp(300, 290);
  const again = await realm.mintLogout({ exp: seconds(clocks.now()) + 3000, jti: "once" });
  const post = (logout_token: string) =>
    fetch(`${url}/backchannel-logout`, { method: "POST", body: new URLSearchParams({ logout_token }) });
  expect((await post(again)).status).toBe(200);
  clocks.pass(700_000);
  // Makes it forget what is old.
  expect((await post(await realm.mintLogout({ sid: "another-session" }))).status).toBe(200);
  const token = await authorizeWith(url, await realm.mint());
  const { socket } = await connected(url, user, "msf", { token });
  expect((await post(again)).status).toBe(200);
  expect(socket.connected).toBe(true);
  expect((await connected(url, user, "msf", { token })).socket.connected).toBe(true);
});
