import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { notify } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, until } from "./support/raw.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { apiKey, start } from "./support/service.ts";

/** How long a revocation is kept: as long as any credential can live that it concerns. */

const hour_ms = 3_600_000;
const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };

let realm: Realm | undefined;
afterEach(async () => {
  await realm?.stop();
});

const revoke = (url: string) =>
  fetch(`${url}/connections/${user}`, { method: "DELETE", headers: { "X-API-Key": apiKey } });

for (const [name, journalUrl] of Object.entries(journals)) {
  test(`a revocation outlives the websocket tokens if access tokens live longer, ${name}`, async () => {
    let now_ms = Date.now();
    const ours = (realm = await startRealm({ now: () => now_ms }));
    const { url } = await start(
      { AMPER_JOURNAL: journalUrl(), AMPER_KEYCLOAK_ISSUER: ours.issuer, AMPER_TOKEN_TTL_SECONDS: "60" },
      { now: () => now_ms },
    );
    const access = await ours.mint({ exp: Math.floor(now_ms / 1000) + 10 * 3600 });
    await notify(url, { msg: "held", keycloak: "bob", ttl: 60 });
    expect((await revoke(url)).status).toBe(200);
    now_ms += hour_ms;
    // What is held ends in the step in which revocations would.
    await until("all is tidy", async () => (await metric(url, "amper_held")) === 0);
    expect(await metric(url, "amper_revocations")).toBe(1);
    const answer = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${access}` } });
    await expectProblem(answer, "token_invalid");
  });

  test(`a revocation is forgotten when no credential is left, ${name}`, async () => {
    let now_ms = Date.now();
    const { url } = await start({ AMPER_JOURNAL: journalUrl() }, { now: () => now_ms });
    expect((await revoke(url)).status).toBe(200);
    expect(await metric(url, "amper_revocations")).toBe(1);
    now_ms += 25 * hour_ms;
    await until("it is forgotten", async () => (await metric(url, "amper_revocations")) === 0);
  });
}

test("a revocation that outlives the websocket tokens outlives a restart as well", async () => {
  let now_ms = Date.now();
  const ours = (realm = await startRealm({ now: () => now_ms }));
  const env = {
    AMPER_JOURNAL: journals.sqlite(),
    AMPER_KEYCLOAK_ISSUER: ours.issuer,
    AMPER_TOKEN_TTL_SECONDS: "60",
  };
  const access = await ours.mint({ exp: Math.floor(now_ms / 1000) + 10 * 3600 });
  const first = await start(env, { now: () => now_ms });
  expect((await revoke(first.url)).status).toBe(200);
  await first.stop();
  now_ms += hour_ms;
  const { url } = await start(env, { now: () => now_ms });
  const answer = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${access}` } });
  await expectProblem(answer, "token_invalid");
});
