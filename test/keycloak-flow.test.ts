import { afterEach, describe, expect, test } from "bun:test";
import { connected, notify } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user } from "./support/realm.ts";
import { apiKey, start } from "./support/service.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map(async (cleanup) => cleanup()));
});

async function setUp(toml?: string) {
  const realm = await startRealm({ now: Date.now });
  cleanups.push(realm.stop);
  const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer }, toml === undefined ? {} : { toml });
  const ask = async (claims: Record<string, unknown> = {}, query = "") =>
    fetch(`${url}/authorize${query}`, { headers: { Authorization: `Bearer ${await realm.mint(claims)}` } });
  return { realm, url, ask };
}

async function tokenOf(response: Response): Promise<string> {
  const { token }: { token?: unknown } = Object(await response.json());
  return String(token);
}

describe("a Keycloak user", () => {
  test("authorizes, connects as himself and nobody else, and is notified", async () => {
    const { url, ask } = await setUp();
    const response = await ask({}, "?keycloakID=somebody-else");
    expect(response.status).toBe(200);
    const copy = response.clone();
    expect(await copy.json()).toMatchObject({ keycloakID: user, channels: "*" });
    const token = await tokenOf(response);
    const page = await connected(url, user, "msf", { token });
    await notify(url, { msg: "hello", keycloak: user });
    expect(await page.count(1)).toEqual(["hello"]);
    await expect(connected(url, "somebody-else", "msf", { token })).rejects.toMatchObject({
      data: { code: "keycloak_mismatch" },
    });
  });

  test("joins the channels that his roles and his client allow", async () => {
    const rules = [
      "[channels.open]",
      "[channels.staff]\nroles = ['staff', 'msf-web:editor']",
      "[channels.web]\nclients = ['msf-web']",
      "[channels.both]\nroles = ['staff']\nclients = ['other']",
    ].join("\n");
    const { url, ask } = await setUp(rules);
    const channelsOf = async (claims: Record<string, unknown>) => {
      const { channels }: { channels?: unknown } = Object(await (await ask(claims)).json());
      return channels;
    };
    const none = { realm_access: { roles: [] }, resource_access: {} };
    expect(await channelsOf({ ...none, azp: "other" })).toEqual(["open"]);
    expect(await channelsOf({ ...none, azp: "msf-web" })).toEqual(["open", "web"]);
    expect(await channelsOf({ ...none, azp: "other", realm_access: { roles: ["staff"] } })).toEqual([
      "open",
      "staff",
      "both",
    ]);
    const editor = { ...none, azp: "x", resource_access: { "msf-web": { roles: ["editor"] } } };
    expect(await channelsOf(editor)).toEqual(["open", "staff"]);
    const token = await tokenOf(await ask(editor));
    await connected(url, user, "staff", { token });
    await expect(connected(url, user, "web", { token })).rejects.toMatchObject({ data: { code: "channel_forbidden" } });
  });

  test("without any channel is 403", async () => {
    const { ask } = await setUp("[channels.staff]\nroles = ['nobody-has-this']");
    await expectProblem(await ask(), "no_channel");
  });

  test("whom an operator has thrown out needs a new login: his access token is dead, too", async () => {
    const { url, ask } = await setUp();
    const issuedBefore = { iat: Math.floor(Date.now() / 1000) - 10 };
    expect((await ask(issuedBefore)).status).toBe(200);
    await fetch(`${url}/connections/${user}`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
    await expectProblem(await ask(issuedBefore), "token_invalid");
  });

  test("is served with the last good keys while the realm is away", async () => {
    const { realm, url, ask } = await setUp();
    expect((await ask()).status).toBe(200);
    expect(await (await fetch(`${url}/health/ready`)).json()).toMatchObject({ status: "ready" });
    await realm.stop();
    expect((await ask()).status).toBe(200);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toContain('amper_jwks_fetches_total{realm="keycloak",result="ok"} 1');
  });
});
