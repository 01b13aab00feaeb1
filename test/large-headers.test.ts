import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, connected } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, talk } from "./support/raw.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { start } from "./support/service.ts";

/** Access tokens of users with hundreds of roles, and other headers that are large. */

const listed = "https://app.example";
const roles = (count: number) => ({
  roles: Array.from({ length: count }, (_, i) => `application-${i}:department:editor`),
});

/** Of Keycloak's size: 400 roles are 16.5 KB. */
const withRoles = (realm: Realm, count: number): Promise<string> => realm.mint({ realm_access: roles(count) });

const asking = (token: string, headers = {}) => ({
  headers: { Authorization: `Bearer ${token}`, Origin: listed, ...headers },
});

describe("an access token with many roles", () => {
  test("that is too large is refused in words that a page can read, and counted", async () => {
    await using realm = await open();
    for (const env of [{}, { AMPER_CORS_ORIGINS: listed }]) {
      const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer, ...env });
      for (const count of [400, 500]) {
        const token = await withRoles(realm, count);
        expect(token.length).toBeGreaterThan(16_384);
        const response = await fetch(`${url}/authorize`, asking(token));
        expect(response.headers.get("access-control-allow-origin")).toBe("AMPER_CORS_ORIGINS" in env ? listed : "*");
        const { detail } = await expectProblem(response, "headers_too_large");
        expect(detail).toContain("16384 bytes (max_header_bytes)");
        expect(detail).toContain("roles");
      }
      expect(await metric(url, 'amper_refusals_total{code="headers_too_large"}')).toBe(2);
      expect((await fetch(`${url}/authorize`, asking(await withRoles(realm, 300)))).status).toBe(200);
    }
  });

  test("is taken where max_header_bytes allows it, up to 64 KiB", async () => {
    await using realm = await open();
    const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_MAX_HEADER_BYTES: "64 KiB" });
    for (const count of [400, 1000, 1300]) {
      const token = await withRoles(realm, count);
      const issued = await authorize(url, "", token);
      await connected(url, user, "msf", { token: issued.token });
    }
    await expectProblem(await fetch(`${url}/authorize`, asking(await withRoles(realm, 1500))), "headers_too_large");
  });
});

describe("headers that are too large in sum", () => {
  const lines = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, i) => `X-${String(i).padStart(2, "0")}: ${"y".repeat(bytes - 8)}\r\n`).join("");

  test("are refused at every address, to the byte, however the head comes", async () => {
    for (const [most, env] of [
      [16_384, {}],
      [1024, { AMPER_MAX_HEADER_BYTES: "1 KiB" }],
      [65_536, { AMPER_MAX_HEADER_BYTES: "65536" }],
    ] as const) {
      const { url } = await launch({ env });
      const host = "Host: localhost\r\n";
      for (const target of [
        "GET /health/live",
        "GET /authorize",
        "POST /notify",
        "GET /socket.io/?x",
        "GET /nowhere",
      ]) {
        const ask = async (bytes: number) => {
          const filling = lines(8, Math.floor((bytes - host.length) / 9));
          const rest = `X-R: ${"z".repeat(bytes - host.length - filling.length - 7)}\r\n`;
          const { answers } = await talk(url, `${target} HTTP/1.1\r\n${host}${filling}${rest}\r\n`);
          return answers.map(({ status, body }) => [status, body.includes("headers_too_large")]);
        };
        const [[status = 0, isRefused] = []] = await ask(most);
        expect([target, most, status === 431, isRefused]).toEqual([target, most, false, false]);
        // And with the longest address that there may be.
        for (const more of [1, 1000, 8000]) {
          expect([target, most, more, await ask(most + more)]).toEqual([target, most, more, [[431, true]]]);
        }
      }
      const long = `GET /${"x".repeat(8191)} HTTP/1.1\r\n${host}${lines(1, most)}\r\n`;
      expect((await talk(url, long)).answers[0]?.body).toContain("headers_too_large");
    }
  });

  test("beyond all measure are refused by the parser", async () => {
    const { url } = await launch({ env: { AMPER_MAX_HEADER_BYTES: "64 KiB" } });
    const { answers } = await talk(url, `GET /health/live HTTP/1.1\r\nHost: x\r\n${lines(10, 9000)}\r\n`);
    expect(answers.map(({ status, body }) => [status, body])).toEqual([[431, ""]]);
  });
});

async function open() {
  const realm = await startRealm({ now: Date.now, alg: "RS256" });
  return { ...realm, [Symbol.asyncDispose]: () => realm.stop() };
}
