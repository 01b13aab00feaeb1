import { createHmac } from "node:crypto";
import { afterEach, describe, expect, test } from "bun:test";
import { exportSPKI, generateKeyPair, importJWK, SignJWT, UnsecuredJWT } from "jose";
import { launch } from "./support/binary.ts";
import { authorize, connected } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, raws } from "./support/raw.ts";
import { claimsOf, createKey, startRealm, user } from "./support/realm.ts";
import { authorizeWith, wsToken } from "./support/service.ts";

/** Tokens that are signed by nobody, by somebody else, or by the wrong rules, against the executable. */

const secret = "0123456789abcdef0123456789abcdef";
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const hmac = (signed: string, key = secret, hash = "sha256"): string =>
  `${signed}.${createHmac(hash, key).update(signed).digest("base64url")}`;

describe("a websocket token", () => {
  /** Sends a CONNECT, and returns the code of its refusal, or "accepted". */
  async function codeOf(url: string, token: unknown, keycloakID = "alice"): Promise<string> {
    const ws = await raws.websocket(url);
    await ws.send(`40${JSON.stringify({ token, keycloakID, channel: "msf" })}`);
    const answer = await ws.next();
    return /"code":"(\w+)"/.exec(answer)?.[1] ?? (answer.startsWith('40{"sid"') ? "accepted" : answer);
  }

  async function setUp() {
    const { url } = await launch({ env: { AMPER_TOKEN_SECRET: secret, AMPER_MAX_CLIENT_BYTES: "128 KiB" } });
    const { token } = await authorize(url, "?keycloakID=alice");
    const [header = "", payload = "", signature = ""] = token.split(".");
    const claims: object = JSON.parse(Buffer.from(payload, "base64url").toString());
    expect(await codeOf(url, token)).toBe("accepted");
    // The helper signs as the service does.
    expect(hmac(`${header}.${payload}`)).toBe(token);
    return { url, token, header, payload, signature, claims };
  }

  test("that is not signed (alg none), in any spelling, is refused", async () => {
    const { url, payload, signature, claims } = await setUp();
    for (const alg of ["none", "None", "NONE", "nOnE", "", null, undefined]) {
      for (const end of ["", ".", `.${signature}`]) {
        expect([alg, await codeOf(url, `${part({ alg, typ: "JWT" })}.${payload}${end}`)]).toEqual([
          alg,
          "token_invalid",
        ]);
      }
    }
    expect(await codeOf(url, new UnsecuredJWT({ ...claims }).encode())).toBe("token_invalid");
  });

  test("of another algorithm is refused, even by the right secret", async () => {
    const { url, payload, claims } = await setUp();
    expect(await codeOf(url, hmac(`${part({ alg: "HS512", typ: "JWT" })}.${payload}`, secret, "sha512"))).toBe(
      "token_invalid",
    );
    expect(await codeOf(url, hmac(`${part({ alg: "HS384", typ: "JWT" })}.${payload}`, secret, "sha384"))).toBe(
      "token_invalid",
    );
    for (const alg of ["RS256", "ES256", "EdDSA"]) {
      const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
      const header = { alg, typ: "JWT", jwk: await crypto.subtle.exportKey("jwk", publicKey) };
      expect(await codeOf(url, await new SignJWT({ ...claims }).setProtectedHeader(header).sign(privateKey))).toBe(
        "token_invalid",
      );
    }
  });

  test("whose header demands or brings what we do not know is refused, even by the right secret", async () => {
    const { url, payload } = await setUp();
    for (const more of [
      { crit: ["exp"] },
      { crit: ["urn:example:extension"], "urn:example:extension": 1 },
      { crit: [] },
      { b64: false, crit: ["b64"] },
      { kid: "../../dev/null" },
      { jku: "https://evil.example/keys" },
      { typ: "at+jwt" },
      { typ: undefined },
      { zip: "DEF" },
    ]) {
      const token = hmac(`${part({ alg: "HS256", typ: "JWT", ...more })}.${payload}`);
      expect([more, await codeOf(url, token)]).toEqual([more, "token_invalid"]);
    }
  });

  test("of which anything was changed, cut off or added is refused", async () => {
    const { url, token, header, payload, signature, claims } = await setUp();
    const bob = part({ ...claims, sub: "bob" });
    for (const forged of [
      `${header}.${bob}.${signature}`,
      `${header}.${payload}.`,
      `${header}.${payload}`,
      `${header}.${payload}.${signature.slice(0, -1)}`,
      `${header}.${payload}.${signature}=`,
      `${header}.${payload}.${signature}.${signature}`,
      `${header}.${payload}.${signature}.`,
      ` ${token}`,
      `${token}\n`,
      `${header}..${signature}`,
      `.${payload}.${signature}`,
      token.toUpperCase(),
      hmac(`${header}.${bob}`, "another-secret-of-thirty-two-bytes"),
      hmac(`${header}.${bob}`, ""),
      hmac(`${header}.${bob}`, wsToken),
      "..",
      "",
      [token],
      { token },
      1,
      true,
    ]) {
      const code = await codeOf(url, forged, "bob");
      expect([forged, code]).toEqual([forged, forged === "" ? "token_missing" : "token_invalid"]);
    }
    expect(await codeOf(url, token, "bob")).toBe("keycloak_mismatch");
  });

  test("that is too long, or of claims that are none of ours, is refused, even by the right secret", async () => {
    const { url, header, claims } = await setUp();
    const signed = (payload: unknown) => hmac(`${header}.${part(payload)}`);
    expect(await codeOf(url, signed({ ...claims, padding: "x".repeat(16_384) }))).toBe("token_invalid");
    expect(await codeOf(url, "x".repeat(100_000))).toBe("token_invalid");
    for (const wrong of [
      { iss: "another-service" },
      { exp: undefined },
      { exp: "9999999999" },
      { iat: undefined },
      { channels: undefined },
      { channels: "msf" },
      { channels: [1] },
      { sub: " alice" },
      { sub: ["alice"] },
    ]) {
      const code = await codeOf(url, signed({ ...claims, ...wrong }));
      expect([wrong, code === "accepted"]).toEqual([wrong, false]);
    }
    expect(await codeOf(url, signed([claims]))).toBe("token_invalid");
    expect(await codeOf(url, signed(null))).toBe("token_invalid");
    expect(await codeOf(url, signed({ ...claims, exp: 1 }))).toBe("token_expired");
  });
});

describe("an access token", () => {
  const cleanups: (() => Promise<void>)[] = [];
  afterEach(async () => {
    await Promise.all(cleanups.splice(0).map((cleanup) => cleanup()));
  });

  async function setUp() {
    const realm = await startRealm({ now: Date.now, alg: "RS256" });
    cleanups.push(realm.stop);
    const { url } = await launch({ env: { AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_TOKEN_SECRET: secret } });
    const ask = (token: string) => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
    expect((await ask(await realm.mint())).status).toBe(200);
    const refused = async (token: string): Promise<string> => {
      const response = await ask(token);
      expect(response.headers.get("www-authenticate")).toStartWith('Bearer error="invalid_token"');
      return (await expectProblem(response, "token_invalid")).detail;
    };
    return { realm, url, ask, refused, claims: claimsOf(realm.issuer, Date.now()) };
  }

  test("that is not signed (alg none), in any spelling, is refused", async () => {
    const { realm, refused, claims } = await setUp();
    for (const alg of ["none", "None", "NONE", ""]) {
      for (const end of ["", (await realm.mint()).split(".")[2]]) {
        await refused(`${part({ alg, typ: "JWT", kid: realm.key.kid })}.${part(claims)}.${end}`);
      }
    }
    await refused(new UnsecuredJWT(claims).encode());
  });

  test("that is signed with the realm's public key as if it were a secret is refused", async () => {
    const { realm, refused, claims } = await setUp();
    const publicKey = await importJWK(realm.key.jwk, "RS256", { extractable: true });
    if (publicKey instanceof Uint8Array) throw new Error("expected a public key");
    const pem = await exportSPKI(publicKey);
    for (const alg of ["HS256", "HS384", "HS512", "RS256"]) {
      const signed = `${part({ alg, typ: "JWT", kid: realm.key.kid })}.${part(claims)}`;
      for (const key of [pem, pem.trim(), `${pem}\n`, JSON.stringify(realm.key.jwk), realm.key.jwk.n ?? "", ""]) {
        await refused(hmac(signed, key, `sha${alg.slice(2)}`));
      }
    }
  });

  test("that demands an extension that nobody knows is refused", async () => {
    const { realm, refused } = await setUp();
    const header = { crit: ["urn:example:extension"], "urn:example:extension": 1 };
    expect(await refused(await realm.mint({}, { header }))).toContain("extension");
  });

  test("that brings its own key is refused, embedded or by address; so is another key under the kid of the realm's", async () => {
    const { realm, refused } = await setUp();
    const key = await createKey("RS256");
    for (const header of [{ jwk: key.jwk }, { jku: `${realm.issuer}/elsewhere` }, { x5u: "https://evil.example" }]) {
      await refused(await realm.mint({}, { key, header }));
      await refused(await realm.mint({}, { key, header: { ...header, kid: realm.key.kid } }));
    }
    expect(realm.requests.discovery).toBeLessThan(3);
  });

  test("that is too long is refused, alone or with its whole request, and never looked into", async () => {
    const { realm, ask, refused } = await setUp();
    await refused(`${part({ alg: "RS256", kid: realm.key.kid })}.${"x".repeat(15_000)}.${"y".repeat(1000)}`);
    expect((await ask(await realm.mint({ padding: "x".repeat(13_000) }))).status).toBe(431);
  });

  test("is one thing, a websocket token another, a logout token a third: none is good for the others", async () => {
    const { realm, url, refused } = await setUp();
    const access = await realm.mint();
    const websocket = await authorizeWith(url, access);
    const logout = await realm.mintLogout();
    await refused(websocket);
    await refused(logout);
    const { token } = await authorize(url);
    for (const wrong of [access, logout]) {
      await expect(connected(url, user, "msf", { token: wrong })).rejects.toMatchObject({
        data: { code: "token_invalid" },
      });
    }
    for (const wrong of [access, websocket, token]) {
      const body = new URLSearchParams({ logout_token: wrong });
      expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(400);
    }
    expect(await metric(url, 'amper_connections{transport="websocket"}')).toBe(0);
    await connected(url, user, "msf", { token: websocket });
  });
});
