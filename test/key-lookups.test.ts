import { afterEach, describe, expect, test } from "bun:test";
import { expectProblem } from "./support/problem.ts";
import { until } from "./support/raw.ts";
import { createClock, createKey, startRealm, type Realm } from "./support/realm.ts";
import { start } from "./support/service.ts";

/** How a service finds the keys of a realm that it does not know yet, whatever strangers make it look for. */

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

async function setUp(alg = "ES256", publish: (realm: Realm) => readonly unknown[] = ({ key }) => [key.jwk]) {
  const clock = createClock();
  const realm = await startRealm({ now: clock.now, alg });
  realms.push(realm);
  realm.publish(publish(realm));
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, { now: clock.now });
  await until("the keys were fetched", async () => (await fetch(`${url}/health/ready`)).status === 200);
  const ask = (token: string) => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  const invented = () => realm.mint({}, { header: { kid: crypto.randomUUID() } });
  /** Tokens of keys that do not exist, until the service looks for no more of them. Resolves with the last answer. */
  async function exhaust(): Promise<Response> {
    const answer = await ask(await invented());
    return answer.status === 401 ? exhaust() : answer;
  }
  const ready = async (): Promise<unknown> => (await fetch(`${url}/health/ready`)).json();
  return { clock, realm, url, ask, invented, exhaust, ready };
}

describe("a new key of the realm", () => {
  test("is taken at once although a stranger has just named one that does not exist", async () => {
    const { realm, ask, invented } = await setUp();
    await expectProblem(await ask(await invented()), "token_invalid");
    await realm.rotate();
    expect((await ask(await realm.mint())).status).toBe(200);
  });

  test("is 503 with the time to wait while it cannot be looked for, never 401", async () => {
    const { clock, realm, ask, exhaust } = await setUp();
    await exhaust();
    await realm.rotate();
    const token = await realm.mint();
    const refused = await ask(token);
    await expectProblem(refused, "unavailable");
    expect(refused.headers.get("retry-after")).toBe("10");
    clock.move(10_000);
    expect((await ask(token)).status).toBe(200);
  });

  test("is found by the fetch that a stranger's token makes", async () => {
    const { clock, realm, ask, exhaust, invented } = await setUp();
    await exhaust();
    await realm.rotate();
    clock.move(10_000);
    await expectProblem(await ask(await invented()), "token_invalid");
    expect((await ask(await realm.mint())).status).toBe(200);
  });

  test("is looked for by a logout even if tokens at /authorize have used up their share", async () => {
    const { realm, url, exhaust } = await setUp();
    await exhaust();
    await realm.rotate();
    const body = new URLSearchParams({ logout_token: await realm.mintLogout() });
    expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
  });
});

test("a realm is asked three times at once and then six times a minute, whatever strangers send", async () => {
  const { clock, realm, ask, invented } = await setUp();
  for (let second = 0; second < 60; second++) {
    await Promise.all(Array.from({ length: 5 }, async () => ask(await invented())));
    clock.move(1000);
  }
  // The first fetch, the three, and those that have come due since.
  expect(realm.requests.keys).toBe(1 + 3 + 5);
});

test("a token that could not be taken anyway makes no fetch: expired, or for others", async () => {
  const { clock, realm, ask, invented } = await setUp();
  const old = await invented();
  clock.move(400_000);
  const other = await realm.mint({ aud: "other" }, { header: { kid: "unknown" } });
  expect((await expectProblem(await ask(old), "token_invalid")).detail).toContain("has expired");
  expect((await expectProblem(await ask(other), "token_invalid")).detail).toContain("Audience mapper");
  for (const claim of ["exp", "iat"]) {
    const token = await realm.mint({ [claim]: undefined }, { header: { kid: "unknown" } });
    expect((await expectProblem(await ask(token), "token_invalid")).detail).toContain(`no valid \`${claim}\``);
  }
  expect(realm.requests.keys).toBe(1);
});

describe("a key set", () => {
  test("with one key twice verifies, and the service is ready", async () => {
    const { realm, ask, ready } = await setUp("ES256", ({ key }) => [key.jwk, { ...key.jwk }]);
    expect((await ask(await realm.mint())).status).toBe(200);
    expect(await ready()).toEqual({ status: "ready", reasons: [] });
  });

  test("with two keys of one id takes the tokens of both, in either order", async () => {
    const other = await createKey("ES256");
    for (const isFirst of [true, false]) {
      const { realm, ask } = await setUp("ES256", ({ key }) => {
        const namesake = { ...other.jwk, kid: key.kid };
        return isFirst ? [namesake, key.jwk] : [key.jwk, namesake];
      });
      expect((await ask(await realm.mint())).status).toBe(200);
      expect((await ask(await realm.mint({}, { key: { ...other, kid: realm.key.kid } }))).status).toBe(200);
      const stranger = await createKey("ES256", realm.key.kid);
      const { detail } = await expectProblem(await ask(await realm.mint({}, { key: stranger })), "token_invalid");
      expect(detail).toContain("signature does not match");
    }
  });

  test("with keys of one id for several algorithms takes what fits", async () => {
    const rsa = await createKey("RS256");
    const { realm, ask } = await setUp("ES256", ({ key }) => [{ ...rsa.jwk, kid: key.kid }, key.jwk]);
    expect((await ask(await realm.mint())).status).toBe(200);
    expect((await ask(await realm.mint({}, { key: { ...rsa, kid: realm.key.kid } }))).status).toBe(200);
  });

  test("with a key that cannot verify takes the others, says so, and looks for a better one", async () => {
    const broken = await createKey("ES256");
    const { realm, ask, ready } = await setUp("ES256", ({ key }) => [key.jwk, { ...broken.jwk, x: "AAAA" }]);
    expect((await ask(await realm.mint())).status).toBe(200);
    expect(await ready()).toEqual({ status: "degraded", reasons: [expect.stringContaining(`kid ${broken.kid}`)] });
    await expectProblem(await ask(await realm.mint({}, { key: broken })), "unavailable");
    realm.publish([realm.key.jwk, broken.jwk]);
    expect((await ask(await realm.mint({}, { key: broken }))).status).toBe(200);
    expect(await ready()).toEqual({ status: "ready", reasons: [] });
  });

  test("with a key that is too short says so", async () => {
    const short = { kty: "RSA", kid: "short", use: "sig", n: Buffer.alloc(64, 255).toString("base64url"), e: "AQAB" };
    const { ready } = await setUp("ES256", ({ key }) => [key.jwk, short]);
    expect(await ready()).toMatchObject({ status: "degraded", reasons: [expect.stringContaining("kid short")] });
  });

  test("for algorithms that are not accepted is not ready, but degraded", async () => {
    const { realm, ask, ready } = await setUp("ES384");
    await expectProblem(await ask(await realm.mint()), "token_invalid");
    expect(await ready()).toMatchObject({ reasons: [expect.stringContaining("keycloak.algorithms")] });
  });
});
