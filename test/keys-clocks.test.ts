import { afterEach, expect, test } from "bun:test";
import { createClocks } from "./support/clocks.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, until } from "./support/raw.ts";
import { startRealm } from "./support/realm.ts";
import { start } from "./support/service.ts";

/** How long keys serve in an outage of Keycloak is told by a clock that nobody sets. */

const hour_ms = 3_600_000;
const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A service whose realm, with a clock that goes as ours does, has gone after its keys were fetched. */
async function setUp() {
  const clocks = createClocks();
  const realm = await startRealm({ now: clocks.now });
  stops.push(realm.stop);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, clocks);
  await until("the keys are there", async () => (await fetch(`${url}/health/ready`)).status === 200);
  realm.behave("error");
  const login = async () => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${await realm.mint()}` } });
  return { url, clocks, login };
}

test.each([48, -48, 24 * 365])(
  "keys serve for 24 hours of an outage, though the clock is set by %d h",
  async (hours) => {
    const { url, clocks, login } = await setUp();
    clocks.step(hours * hour_ms);
    expect((await login()).status).toBe(200);
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    expect(await metric(url, 'amper_jwks_age_seconds{realm="keycloak"}')).toBe(0);
    clocks.pass(24 * hour_ms - 1);
    expect((await login()).status).toBe(200);
    expect(await metric(url, 'amper_jwks_age_seconds{realm="keycloak"}')).toBe(24 * 3600 - 0.001);
    clocks.pass(1);
    await expectProblem(await login(), "unavailable");
    expect((await fetch(`${url}/health/ready`)).status).toBe(503);
  },
);

test("a guesser waits no shorter when the clock is set forward", async () => {
  const clocks = createClocks();
  const { url } = await start({ AMPER_AUTH_FAILURES_PER_MINUTE: "3" }, clocks);
  const guess = async () => (await fetch(`${url}/authorize`, { headers: { Authorization: "Bearer guess" } })).status;
  const all = [await guess(), await guess(), await guess(), await guess()];
  expect(all).toEqual([401, 401, 401, 429]);
  clocks.step(hour_ms);
  expect(await guess()).toBe(429);
  clocks.step(-2 * hour_ms);
  clocks.pass(20_000);
  expect([await guess(), await guess()]).toEqual([401, 429]);
});
