import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, connected, next } from "./support/client.ts";
import { createClocks, createSteppedClocks } from "./support/clocks.ts";
import { folder } from "./support/folder.ts";
import { metric, until } from "./support/raw.ts";
import { createKey, startRealm, user, type Realm } from "./support/realm.ts";
import { apiKey, authorizeWith, start, wsToken } from "./support/service.ts";

/** Where ending a user meets a clock, a key or a token that is not as it should be. */

const realms = new Set<Realm>();
afterEach(async () => {
  await Promise.all([...realms].map((realm) => realm.stop()));
  realms.clear();
});

async function realmOf(now: () => number): Promise<Realm> {
  const realm = await startRealm({ now });
  realms.add(realm);
  return realm;
}

const admin = `[[api_keys]]\nname = "admin"\nkey = "${apiKey}"\nadmin = true\n`;
const statusOf = async (url: string, token: string) =>
  (await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } })).status;
const end = (url: string) =>
  fetch(`${url}/connections/${user}`, { method: "DELETE", headers: { Authorization: `Bearer ${apiKey}` } });
const ready = (url: string) =>
  until("the realm's keys are there", async () => (await fetch(`${url}/health/ready`)).status === 200);

test("a logout that waits for its key ends what its session was granted meanwhile", async () => {
  const realm = await realmOf(Date.now);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer });
  await ready(url);
  const old = await realm.mint();
  const [oldKey, newKey] = [realm.key, await createKey("ES256")];
  realm.behave("error");
  const body = new URLSearchParams({ logout_token: await realm.mintLogout({}, { key: newKey }) });
  expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(503);
  const { socket } = await connected(url, user, "msf", { token: await authorizeWith(url, old) });
  const closing = next(socket, "closing");
  realm.publish([oldKey.jwk, newKey.jwk]);
  realm.behave("well");
  expect(await closing).toEqual({ code: "revoked", reconnect: false });
  expect(await statusOf(url, old)).toBe(401);
});

test("a DELETE ends access tokens that live for long, though only an old one was seen", async () => {
  const clocks = createClocks();
  const realm = await realmOf(clocks.now);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, { ...clocks, toml: admin });
  await ready(url);
  const aged = (age_seconds: number, sub = user) => {
    const iat = Math.floor(clocks.now() / 1000) - age_seconds;
    return realm.mint({ iat, exp: iat + 1200, sub });
  };
  expect(await statusOf(url, await aged(1000, "somebody-else"))).toBe(200);
  expect((await end(url)).status).toBe(200);
  expect(await statusOf(url, await aged(600))).toBe(401);
});

test("a DELETE after a long stop ends access tokens of that time, before any was seen", async () => {
  const clocks = createClocks();
  const realm = await realmOf(clocks.now);
  const env = { AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
  const first = await start(env, { ...clocks, toml: admin });
  await ready(first.url);
  expect(await statusOf(first.url, await realm.mint())).toBe(200);
  await first.stop();
  clocks.pass(600_000);
  const { url } = await start(env, { ...clocks, toml: admin });
  await ready(url);
  const unseen = await realm.mint();
  clocks.pass(60_000);
  expect((await end(url)).status).toBe(200);
  expect(await statusOf(url, unseen)).toBe(401);
  clocks.pass(1000);
  expect(await statusOf(url, await realm.mint())).toBe(200);
});

test("a signed token whose iat is no number disturbs neither a DELETE nor the journal", async () => {
  const realm = await realmOf(Date.now);
  const env = {
    AMPER_KEYCLOAK_ISSUER: realm.issuer,
    AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}`,
  };
  const first = await start(env, { toml: admin });
  await ready(first.url);
  const token = await realm.mint();
  expect(await statusOf(first.url, await realm.mint({ iat: "soon" }))).toBe(401);
  expect((await end(first.url)).status).toBe(200);
  expect(await statusOf(first.url, token)).toBe(401);
  await first.stop();
  const second = await start(env, { toml: admin });
  await ready(second.url);
  expect(await statusOf(second.url, token)).toBe(401);
});

test("a clock that is days ahead for moments ends no WS token before its time", async () => {
  const clocks = createSteppedClocks();
  const day_ms = 86_400_000;
  const expires_at = new Date(Date.now() + day_ms).toISOString();
  const toml = `[[ws_tokens]]\nname = "front"\ntoken = "${wsToken}"\nexpires_at = ${expires_at}\n`;
  const { url } = await start({}, { ...clocks, toml });
  const { socket } = await connected(url, "alice", "msf", { token: (await authorize(url)).token });
  // A counter is not there before it has counted.
  const steps = (direction: string) => metric(url, `amper_clock_steps_total{direction="${direction}"}`).catch(() => 0);
  clocks.step(2 * day_ms);
  await until("the step was noticed", async () => (await steps("forward")) > 0);
  clocks.step(-2 * day_ms);
  await until("its end, too", async () => (await steps("back")) > 0);
  expect(socket.connected).toBe(true);
});
