import { afterEach, expect, test } from "bun:test";
import { next, page } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { authorizeWith, start } from "./support/service.ts";

/** Logouts of realms with clocks of their own, and with ids that mean nothing in another realm. */

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

async function realm(now: () => number): Promise<Realm> {
  const started = await startRealm({ now });
  realms.push(started);
  return started;
}

const logout = (url: string, token: string) =>
  fetch(`${url}/backchannel-logout`, { method: "POST", body: new URLSearchParams({ logout_token: token }) });
const authorize = (url: string, token: string) =>
  fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });

test.each([
  ["ahead", 3000],
  ["behind", -3000],
])("a logout of a realm whose clock is %s ends all that was issued before", async (_, ahead_ms) => {
  const now_ms = Math.ceil(Date.now() / 1000) * 1000;
  const own = await realm(() => now_ms + ahead_ms);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: own.issuer }, { now: () => now_ms });
  const access = await own.mint();
  const token = await authorizeWith(url, access);
  expect((await logout(url, await own.mintLogout({ sid: undefined }))).status).toBe(200);
  await expectProblem(await authorize(url, access), "token_invalid");
  const { socket } = page(url, { token, keycloakID: user, channel: "msf" });
  expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
});

test("a logout counts although one of another realm had the same id", async () => {
  const [own, partners] = [await realm(Date.now), await realm(Date.now)];
  const toml = `[keycloak.realms.partners]\nissuer = "${partners.issuer}"\n[keycloak.realms.partners.channels.b2b]\n`;
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: own.issuer }, { toml });
  const session = { sid: "partners-session" };
  const access = await partners.mint(session);
  expect((await authorize(url, access)).status).toBe(200);
  const jti = "the-same-id";
  expect((await logout(url, await own.mintLogout({ jti }))).status).toBe(200);
  expect((await logout(url, await partners.mintLogout({ jti, ...session }))).status).toBe(200);
  await expectProblem(await authorize(url, access), "token_invalid");
});
