import { afterEach, describe, expect, test } from "bun:test";
import { expectProblem } from "./support/problem.ts";
import { createKey, startRealm } from "./support/realm.ts";
import { start, wsToken } from "./support/service.ts";

/** Access tokens that are bound to a key of their client, which nobody shows here (RFC 7800, 8705, 9449). */

const realms: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map(({ stop }) => stop()));
});

const sentence = "is bound to a key of its client (`cnf`)";
const remedy = "In Keycloak, let the client get tokens for this audience without DPoP and without certificate binding.";

const bound: Record<string, Record<string, unknown>> = {
  "a TLS certificate": { cnf: { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" } },
  "a DPoP key": { cnf: { jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }, typ: "DPoP" },
  "a DPoP key, called a bearer token": { cnf: { jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } },
  "a DPoP key that is not named": { typ: "DPoP" },
  "a whole key": { cnf: { jwk: { kty: "EC", crv: "P-256", x: "x", y: "y" } } },
  "a key by its id": { cnf: { kid: "device-1" } },
  "something that nobody knows": { cnf: { "urn:example:new": true } },
  nothing: { cnf: {} },
  null: { cnf: null },
  "no object": { cnf: "x5t#S256" },
  false: { cnf: false },
};

async function setUp() {
  const realm = await startRealm({ now: Date.now });
  realms.push(realm);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_AUTH_FAILURES_PER_MINUTE: "3" });
  const ask = (authorization: string) => fetch(`${url}/authorize`, { headers: { Authorization: authorization } });
  return { realm, ask };
}

describe("an access token", () => {
  for (const [what, claims] of Object.entries(bound)) {
    test(`bound to ${what} is refused with a remedy`, async () => {
      const { realm, ask } = await setUp();
      const response = await ask(`Bearer ${await realm.mint(claims)}`);
      const challenge = response.headers.get("www-authenticate");
      const { detail } = await expectProblem(response, "token_invalid");
      expect(detail).toContain(sentence);
      expect(detail).toContain(remedy);
      expect(challenge).toStartWith('Bearer error="invalid_token", error_description="The access token is bound');
    });
  }

  test("bound to a key is no guess: its address goes on", async () => {
    const { realm, ask } = await setUp();
    for (let i = 0; i < 5; i++) {
      await expectProblem(await ask(`Bearer ${await realm.mint({ cnf: { kid: "k" } })}`), "token_invalid");
    }
    await expectProblem(await ask("Bearer wrong"), "token_invalid");
    expect((await ask(`Bearer ${await realm.mint()}`)).status).toBe(200);
  });

  test("bound to a key is told so also where its audience is another", async () => {
    const { realm, ask } = await setUp();
    const token = await realm.mint({ cnf: { kid: "k" }, aud: "other", typ: "DPoP" });
    expect((await expectProblem(await ask(`Bearer ${token}`), "token_invalid")).detail).toContain(sentence);
  });

  test("that says it is bound, of a key that is not the realm's, is told of its signature", async () => {
    const { realm, ask } = await setUp();
    const key = { ...(await createKey("ES256")), kid: realm.key.kid };
    const token = await realm.mint({ cnf: { kid: "k" } }, { key });
    expect((await expectProblem(await ask(`Bearer ${token}`), "token_invalid")).detail).toContain("signature");
  });

  test("with a claim that has `cnf` in it, but is not `cnf`, is taken", async () => {
    const { realm, ask } = await setUp();
    expect(
      (await ask(`Bearer ${await realm.mint({ CNF: {}, confirmed: { cnf: {} }, act: { cnf: {} } })}`)).status,
    ).toBe(200);
  });
});

describe("the scheme DPoP", () => {
  test("is refused with a sentence of its own, whatever it carries", async () => {
    const { realm, ask } = await setUp();
    const tokens = [await realm.mint({ typ: "DPoP", cnf: { jkt: "x" } }), await realm.mint(), wsToken, "", "wrong"];
    for (const scheme of ["DPoP", "dpop"]) {
      for (const token of tokens) {
        const response = await ask(`${scheme} ${token}`);
        expect(response.headers.get("www-authenticate")).toBe('Bearer realm="amper-channels"');
        const { detail } = await expectProblem(response, "token_invalid");
        expect(detail).toStartWith("Proofs of possession (DPoP) are not taken here");
        expect(detail).toContain("`Authorization: Bearer TOKEN`");
      }
    }
  });

  test("is not seen in another scheme", async () => {
    const { ask } = await setUp();
    for (const authorization of ["Basic DPoP", "DPoPx y"]) {
      const { detail } = await expectProblem(await ask(authorization), "token_invalid");
      expect(detail).toBe("Send the header `Authorization: Bearer TOKEN`.");
    }
  });
});

// The realm sends it once, and shows no key: refused, it would be lost.
test("a logout token with `cnf` ends its session", async () => {
  const realm = await startRealm({ now: Date.now });
  realms.push(realm);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer });
  const token = await realm.mint();
  const ask = () => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  expect((await ask()).status).toBe(200);
  const body = new URLSearchParams({ logout_token: await realm.mintLogout({ cnf: { kid: "k" } }) });
  expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
  await expectProblem(await ask(), "token_invalid");
});
