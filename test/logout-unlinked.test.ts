import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { createClocks } from "./support/clocks.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { until } from "./support/raw.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { start } from "./support/service.ts";

/** Access tokens that name no session, as lightweight ones do: nobody knows which logout is theirs. */

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

async function setUp(env: Record<string, string> = {}) {
  const clocks = createClocks();
  const [realm, partners] = [await startRealm({ now: clocks.now }), await startRealm({ now: clocks.now })];
  realms.push(realm, partners);
  const toml = `[keycloak.realms.partners]\nissuer = "${partners.issuer}"\n[keycloak.realms.partners.channels.b2b]\n`;
  const settings = {
    AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}`,
    AMPER_KEYCLOAK_ISSUER: realm.issuer,
    ...env,
  };
  let service = await begin();
  async function begin() {
    const started = await start(settings, { ...clocks, toml });
    await until("the keys are there", async () => (await fetch(`${started.url}/health/ready`)).status === 200);
    return started;
  }
  return {
    clocks,
    mint: (claims: Record<string, unknown> = {}, by = realm) => by.mint({ sid: undefined, ...claims }),
    partners,
    ask: (access: string) => fetch(`${service.url}/authorize`, { headers: { Authorization: `Bearer ${access}` } }),
    async logout(claims: Record<string, unknown> = {}) {
      const body = new URLSearchParams({ logout_token: await realm.mintLogout(claims) });
      expect((await fetch(`${service.url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
    },
    async restart() {
      await service.stop();
      service = await begin();
    },
  };
}

test("a logout of a session that names its user ends what was issued before, and nothing newer, over a restart", async () => {
  const { clocks, mint, ask, logout, restart } = await setUp();
  const [old, bobs] = [await mint(), await mint({ sub: "bob" })];
  expect((await ask(old)).status).toBe(200);
  clocks.pass(1000);
  await logout();
  const { detail } = await expectProblem(await ask(old), "token_invalid");
  expect(detail).toContain("logged out");
  clocks.pass(1000);
  const since = await mint();
  expect([(await ask(since)).status, (await ask(bobs)).status]).toEqual([200, 200]);
  await restart();
  expect([(await ask(old)).status, (await ask(since)).status, (await ask(bobs)).status]).toEqual([401, 200, 200]);
});

test.each([-3_600_000, 3_600_000])("so it does while our clock is wrong by %d ms", async (by_ms) => {
  const { clocks, mint, ask, logout } = await setUp();
  const old = await mint();
  clocks.pass(1000);
  // The realm's goes with ours here: its logout is from the time to which ours was set.
  const iat = Math.floor(clocks.now() / 1000);
  clocks.step(by_ms);
  await logout({ iat, exp: iat + 120 });
  clocks.step(-by_ms);
  await expectProblem(await ask(old), "token_invalid");
  clocks.pass(1000);
  expect((await ask(await mint())).status).toBe(200);
});

test("one that names only the session does not: nobody knows whose they are", async () => {
  const { mint, ask, logout } = await setUp();
  const old = await mint();
  await logout({ sub: undefined });
  expect((await ask(old)).status).toBe(200);
});

test("nor does one with logout_ends_unlinked = false", async () => {
  const { mint, ask, logout } = await setUp({ AMPER_LOGOUT_ENDS_UNLINKED: "false" });
  const old = await mint();
  await logout();
  expect((await ask(old)).status).toBe(200);
});

test("a logout of one realm says nothing of the tokens of another", async () => {
  const { mint, ask, logout, partners } = await setUp();
  const old = await mint({ sub: user }, partners);
  await logout();
  expect((await ask(old)).status).toBe(200);
});
