import { afterEach, describe, expect, test } from "bun:test";
import { env, launch, run } from "./support/binary.ts";
import { createAuthority, type Certified } from "./support/certificates.ts";
import { authorize } from "./support/client.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";

/** A Keycloak whose certificate is of an authority of one's own, or is not in order, and what the operator is told of it. */

const authority = createAuthority();

let realm: Realm | undefined;
afterEach(async () => {
  await realm?.stop();
  realm = undefined;
});

async function start(tls: Certified, host: string): Promise<Realm> {
  realm = await startRealm({ now: Date.now, tls, host });
  return realm;
}

const trusting = { NODE_EXTRA_CA_CERTS: authority.cert };

test.each([
  ["localhost", "DNS:localhost"],
  ["127.0.0.1", "IP:127.0.0.1"],
])("a private authority that is named is trusted, at %s", async (host, name) => {
  const { issuer, mint } = await start(authority.issue(name), host);
  const { url, said } = await launch({ env: { AMPER_KEYCLOAK_ISSUER: issuer, ...trusting } });
  await said(/"realm keys fetched"/);
  expect(await authorize(url, "", await mint())).toMatchObject({ keycloakID: user });
  expect((await fetch(`${url}/health/ready`)).status).toBe(200);
});

test("the keys may come from another host and path than the issuer, which is not called then", async () => {
  const keycloak = await start(authority.issue("DNS:localhost"), "localhost");
  const issuer = "https://id.example.invalid/auth/realms/main";
  const given = { AMPER_KEYCLOAK_ISSUER: issuer, AMPER_KEYCLOAK_JWKS_URL: keycloak.jwks_url, ...trusting };
  const { url, said } = await launch({ env: given });
  await said(/"realm keys fetched"/);
  expect(await authorize(url, "", await keycloak.mint({ iss: issuer }))).toMatchObject({ keycloakID: user });
  const body = new URLSearchParams({ logout_token: await keycloak.mintLogout({ iss: issuer }) });
  expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
  expect(keycloak.requests.discovery).toBe(0);
  expect(await run(["check", "--strict"], { env: { ...env, ...given } })).toMatchObject({ code: 0, stderr: "" });
});

const day = (days: number): string =>
  new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10).replaceAll("-", "");

const cases: Readonly<
  Record<
    string,
    { name?: string; from?: string; to?: string; trusts?: boolean; reason: string; says: string; remedy: string }
  >
> = {
  "an authority that is not named": {
    trusts: false,
    reason: "untrusted_certificate",
    says: "certificate is not trusted",
    remedy: "NODE_EXTRA_CA_CERTS",
  },
  "a certificate that has expired": {
    to: day(-1),
    reason: "expired_certificate",
    says: "certificate has expired",
    remedy: "renew it",
  },
  "a certificate of tomorrow": {
    from: day(2),
    reason: "early_certificate",
    says: "certificate is not valid yet",
    remedy: "compare the clocks",
  },
  "a certificate for another host": {
    name: "DNS:keycloak.example.com",
    reason: "misnamed_certificate",
    says: "certificate is for another host name",
    remedy: "write the name",
  },
};

describe("is not called unreachable, but what it is, with the remedy:", () => {
  for (const [what, { name = "DNS:localhost", from, to, trusts = true, reason, says, remedy }] of Object.entries(
    cases,
  )) {
    test(what, async () => {
      const { issuer, mint } = await start(authority.issue(name, from, to), "localhost");
      const given = { AMPER_KEYCLOAK_ISSUER: issuer, ...(trusts && trusting) };
      const { url, said } = await launch({ env: given });
      const line = await said(/"realm keys not fetched"/);
      expect(JSON.parse(line)).toMatchObject({ level: "warn", reason, detail: expect.stringContaining(says) });
      expect(line).toContain(remedy);
      const ready = await fetch(`${url}/health/ready`);
      expect({ status: ready.status, body: await ready.text() }).toEqual({
        status: 503,
        body: expect.stringContaining(says),
      });
      const refused = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${await mint()}` } });
      expect(refused.status).toBe(503);
      const { code, stderr } = await run(["check", "--strict"], { env: { ...env, ...given } });
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/^warning: keycloak\.issuer: the certificate of localhost:\d+ (?!.*reach)/),
      });
      expect(stderr).toContain(remedy);
    });
  }
});
