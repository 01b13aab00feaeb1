import { afterEach, describe, expect, test } from "bun:test";
import { loadSettings } from "../src/settings/load.ts";
import { authorize } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, type Realm } from "./support/realm.ts";
import { start } from "./support/service.ts";

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

/** Asks with a token that has these roles, in a service with one channel `desk` that asks for `rule`. */
async function setUp(rule: string) {
  const realm = await startRealm({ now: Date.now });
  realms.push(realm);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, { toml: `[channels.desk]\nroles = [${rule}]` });
  return async (ofRealm: readonly string[], ofClients: Readonly<Record<string, readonly string[]>> = {}) => {
    const resource_access = Object.fromEntries(Object.entries(ofClients).map(([id, roles]) => [id, { roles }]));
    const token = await realm.mint({ realm_access: { roles: ofRealm }, resource_access });
    return fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  };
}

describe("a rule that names", () => {
  test("client:role refuses a role of the realm with that name", async () => {
    const ask = await setUp('"msf-web:reader"');
    await expectProblem(await ask(["msf-web:reader"]), "no_channel");
    await expectProblem(await ask(["reader"], { "b2b-web": ["reader"] }), "no_channel");
    expect((await ask([], { "msf-web": ["reader"] })).status).toBe(200);
  });

  test("a role of the realm by a table takes its colon as it is", async () => {
    const ask = await setUp('{ role = "msf-web:reader" }');
    expect((await ask(["msf-web:reader"])).status).toBe(200);
    await expectProblem(await ask([], { "msf-web": ["reader"] }), "no_channel");
  });

  test("a role without a colon refuses the role of a client", async () => {
    const ask = await setUp('"reader"');
    await expectProblem(await ask([], { "msf-web": ["reader"] }), "no_channel");
    expect((await ask(["reader"])).status).toBe(200);
  });

  test("several colons means the client before the first one, and no other", async () => {
    const ask = await setUp('"shop:orders:read"');
    expect((await ask([], { shop: ["orders:read"] })).status).toBe(200);
    await expectProblem(await ask([], { "shop:orders": ["read"] }), "no_channel");
    await expectProblem(await ask(["shop:orders:read"]), "no_channel");
  });

  test("a client by a table takes the colons of its id as they are", async () => {
    const ask = await setUp('"boss", { client = "urn:shop", role = "read" }');
    expect((await ask([], { "urn:shop": ["read"] })).status).toBe(200);
    await expectProblem(await ask([], { urn: ["shop:read"] }), "no_channel");
    expect((await ask(["boss"])).status).toBe(200);
  });
});

test("a token that was issued under a rule is good for the same rule in other words", async () => {
  const realm = await startRealm({ now: Date.now });
  realms.push(realm);
  const serve = (role: string) =>
    start(
      { AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_TOKEN_SECRET: "0123456789abcdef0123456789abcdef" },
      { toml: `[channels.desk]\nroles = [${role}]` },
    );
  const access = await realm.mint();
  const rulesIn = async (role: string) => {
    const { token } = await authorize((await serve(role)).url, "", access);
    return Buffer.from(token.split(".")[1] ?? "", "base64url")
      .toString()
      .replace(/,"iat".*/, "");
  };
  expect(await rulesIn('{ client = "msf-web", role = "viewer" }')).toBe(await rulesIn('"msf-web:viewer"'));
});

test("`check` warns of a text with several colons, in every realm, and refuses an empty half", () => {
  const load = (toml: string) => loadSettings({ args: ["--config=a.toml"], env: {}, readFile: () => toml });
  const unclear = load(`
    [channels.msf]
    roles = ["fine", "a:b", "shop:orders:read", { client = "urn:shop", role = "read" }]
    [keycloak.realms.partners]
    issuer = "https://id.example.com/realms/partners"
    [keycloak.realms.partners.channels.b2b]
    roles = "a:b:c"
  `);
  expect(unclear.warnings).toEqual([
    expect.stringMatching(/^keycloak\.realms\.partners\.channels\.b2b\.roles entry 1 in a\.toml has several colons/),
    expect.stringMatching(/^channels\.msf\.roles entry 3 in a\.toml has several colons/),
  ]);
  for (const role of ['":reader"', '"msf-web:"', "{ client = 'x' }", "{ role = 'x', realm = 'y' }", "7"]) {
    expect([role, load(`[channels.msf]\nroles = [${role}]`).ok]).toEqual([role, false]);
  }
});
