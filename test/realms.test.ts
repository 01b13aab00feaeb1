import { afterEach, expect, test } from "bun:test";
import { loadSettings } from "../src/settings/load.ts";
import { connected, next, notify, page } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { authorizeWith, start } from "./support/service.ts";

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

async function realm(): Promise<Realm> {
  const started = await startRealm({ now: Date.now });
  realms.push(started);
  return started;
}

/** The users of one realm go by [channels], those of the other by the rules of their own realm. */
async function setUp(more = "") {
  const [own, partners] = [await realm(), await realm()];
  const toml = `
[channels.msf]
roles = ["dispatcher"]
[channels.staff]
roles = ["staff"]
[keycloak.realms.partners]
issuer = "${partners.issuer}"
audience = "partners-channels"
${more}
[keycloak.realms.partners.channels.b2b]
roles = ["buyer"]
[keycloak.realms.partners.channels.msf]
clients = ["msf-web"]
`;
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: own.issuer }, { toml });
  const ask = (token: string) => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  const partner = (claims: Record<string, unknown> = {}) => partners.mint({ aud: "partners-channels", ...claims });
  return { own, partners, url, ask, partner };
}

test("each realm has its own audience and rules: a role means nothing in another realm", async () => {
  const { own, url, ask, partner } = await setUp();
  const roles = { realm_access: { roles: ["staff", "buyer", "dispatcher"] } };
  expect(await (await ask(await own.mint(roles))).json()).toMatchObject({ channels: ["msf", "staff"] });
  const response = await ask(await partner({ ...roles, azp: "b2b-web" }));
  expect(await response.json()).toMatchObject({ channels: ["b2b"] });
  await expectProblem(await ask(await partner({ azp: "b2b-web" })), "no_channel");
  await expectProblem(await ask(await partner({ aud: "amper-channels" })), "token_invalid");
  const token = await authorizeWith(url, await partner({ sub: "petra" }));
  const petra = await connected(url, "petra", "msf", { token });
  await notify(url, { msg: "for all of msf", channel: "msf" });
  expect(await petra.count(1)).toEqual(["for all of msf"]);
  const elsewhere = page(url, { token, keycloakID: "petra", channel: "staff" });
  expect(await next(elsewhere.socket, "connect_error")).toMatchObject({ data: { code: "channel_forbidden" } });
});

test("a key of one realm verifies no token of another, not even under the other's name for it", async () => {
  const { own, partners, ask, partner } = await setUp();
  expect((await ask(await partner())).status).toBe(200);
  const forged = { iss: own.issuer, aud: "amper-channels", sub: user };
  await expectProblem(await ask(await partners.mint(forged)), "token_invalid");
  await expectProblem(await ask(await partners.mint(forged, { header: { kid: own.key.kid } })), "token_invalid");
  // Both publish a key of that name.
  partners.publish([{ ...partners.key.jwk, kid: own.key.kid }]);
  await expectProblem(await ask(await partners.mint(forged, { header: { kid: own.key.kid } })), "token_invalid");
});

test("a realm that is not configured is refused, with those that are", async () => {
  const { own, partners, ask } = await setUp();
  const { detail } = await expectProblem(await ask(await (await realm()).mint()), "token_invalid");
  expect(detail).toContain(own.issuer);
  expect(detail).toContain(partners.issuer);
});

test("a logout counts in the realm that it comes from, by that realm's clients", async () => {
  const { partners, url, partner } = await setUp('logout_clients = ["b2b-web"]');
  const token = await authorizeWith(url, await partner());
  const { socket } = await connected(url, user, "msf", { token });
  const logout = async (aud: string) =>
    fetch(`${url}/backchannel-logout`, {
      method: "POST",
      body: new URLSearchParams({ logout_token: await partners.mintLogout({ aud }) }),
    });
  await expectProblem(await logout("msf-web"), "logout_token_invalid");
  const closing = next(socket, "closing");
  expect((await logout("b2b-web")).status).toBe(200);
  expect(await closing).toEqual({ code: "revoked", reconnect: false });
});

test("while one realm is away the users of the other come in; ready is degraded, and without any it is 503", async () => {
  const [own, partners] = [await realm(), await realm()];
  own.behave("error");
  const toml = `
[keycloak.realms.partners]
issuer = "${partners.issuer}"
[keycloak.realms.partners.channels.b2b]
`;
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: own.issuer }, { toml });
  const ask = (token: string) => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  await expectProblem(await ask(await own.mint()), "unavailable");
  expect((await ask(await partners.mint())).status).toBe(200);
  const ready = await fetch(`${url}/health/ready`);
  expect(await ready.json()).toEqual({
    status: "degraded",
    reasons: ["keycloak: the realm answers with an error"],
  });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(metrics).toMatch(/amper_jwks_age_seconds\{realm="partners"\} [0-9.e-]+\n/);
  expect(metrics).not.toContain('amper_jwks_age_seconds{realm="keycloak"}');

  partners.behave("error");
  own.behave("error");
  const neither = await start({ AMPER_KEYCLOAK_ISSUER: own.issuer }, { toml });
  await expectProblem(await ask(await own.mint()), "unavailable");
  const notReady = await expectProblem(await fetch(`${neither.url}/health/ready`), "unavailable");
  expect(notReady.reasons).toHaveLength(2);
});

test("a realm has to say what its users may join, and no two have one issuer", () => {
  const problemsOf = (toml: string) => {
    const loaded = loadSettings({ args: ["--config=x.toml"], env: {}, readFile: () => toml });
    return loaded.ok ? [] : loaded.problems;
  };
  const issuer = 'issuer = "https://id.example.com/realms/one"';
  const table = (name: string) => `[keycloak.realms.${name}]\n${issuer}\n`;
  expect(problemsOf(table("one"))).toEqual(["keycloak.realms.one.channels in x.toml is missing"]);
  const good = (name: string) => `${table(name)}[keycloak.realms.${name}.channels.msf]\n`;
  expect(problemsOf(good("one"))).toEqual([]);
  expect(problemsOf(good("one") + good("two"))).toEqual(["keycloak.realms.two has the same issuer as the realm one"]);
  expect(problemsOf(`[keycloak]\n${issuer}\n${good("one")}`)).toEqual([
    "keycloak.realms.one has the same issuer as the realm keycloak",
  ]);
  expect(problemsOf(good("keycloak"))).toEqual([expect.stringContaining("must not be called keycloak")]);
});
