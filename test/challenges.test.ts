import { afterEach, describe, expect, test } from "bun:test";
import type { ProblemCode } from "../src/model/problem.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm } from "./support/realm.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** WWW-Authenticate (RFC 6750 3.1): what a client is told about the token that it sent, and nothing about one that it did not. */

const realms: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map(({ stop }) => stop()));
});

const bare = 'Bearer realm="amper-channels"';
const limitedKey = "limited-key-0123456789";
const metricsToken = "metrics-token-0123456789";
const toml = `
[api_keys.backend]
key = "${apiKey}"
[api_keys.limited]
key = "${limitedKey}"
channels = ["b2b"]
admin = true
[api_keys.old]
key = "old-key-0123456789"
expires_at = "2020-01-01T00:00:00Z"`;

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
const message = JSON.stringify({ msg: 1, channel: "msf" });

async function setUp() {
  const { url } = await start({ AMPER_METRICS_TOKEN: metricsToken, AMPER_AUTH_FAILURES_PER_MINUTE: "1000" }, { toml });
  /** The challenge of a refusal. */
  return async function challenge(call: string, code: ProblemCode, headers: Record<string, string>, body = message) {
    const [method = "", path = ""] = call.split(" ");
    const response = await fetch(url + path, { method, headers, ...(method === "POST" && { body }) });
    await expectProblem(response, code);
    return [call, headers, response.headers.get("www-authenticate")];
  };
}

/** What asks for a credential, and how it refuses a wrong one. */
const calls = {
  "GET /authorize": "token_invalid",
  "POST /notify": "api_key_invalid",
  "GET /connections": "api_key_invalid",
  "GET /connections/alice": "api_key_invalid",
  "DELETE /connections/alice": "api_key_invalid",
  "GET /metrics": "metrics_token_invalid",
} as const satisfies Record<string, ProblemCode>;

describe("a 401", () => {
  test("names no error where no token came in Authorization: Bearer", async () => {
    const challenge = await setUp();
    for (const [call, code] of Object.entries(calls)) {
      for (const headers of [
        {},
        { Authorization: `Basic ${btoa(`front:${wsToken}`)}` },
        { Authorization: "Bearer" },
        { Authorization: wsToken },
        { "X-API-Key": "wrong" },
      ]) {
        expect(await challenge(call, code, headers)).toEqual([call, headers, bare]);
      }
    }
    const wrong = JSON.stringify({ API_KEY: "wrong", msg: 1, channel: "msf" });
    expect(await challenge("POST /notify", "api_key_invalid", {}, wrong)).toEqual(["POST /notify", {}, bare]);
  });

  test("names invalid_token where one came", async () => {
    const challenge = await setUp();
    for (const [call, code] of Object.entries(calls)) {
      for (const token of ["wrong", "a.b.c", "old-key-0123456789"]) {
        const headers = bearer(token);
        const expected = expect.stringMatching(/^Bearer error="invalid_token", error_description="[ -~]+"$/);
        expect(await challenge(call, code, headers)).toEqual([call, headers, expected]);
      }
    }
  });

  test("describes the error in its own words only, without a quote", async () => {
    const realm = await startRealm({ now: Date.now });
    realms.push(realm);
    const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer });
    for (const aud of ['"', "a\\b", "ä", "x".repeat(2000)]) {
      const response = await fetch(`${url}/authorize`, { headers: bearer(await realm.mint({ aud })) });
      const challenge = response.headers.get("www-authenticate");
      expect(challenge).toMatch(
        /^Bearer error="invalid_token", error_description="[\x20\x21\x23-\x5b\x5d-\x7e]{5,400}"$/,
      );
    }
  });
});

describe("a 403", () => {
  const insufficient = expect.stringMatching(/^Bearer error="insufficient_scope", error_description="[ -~]{5,400}"$/);

  test("names insufficient_scope where the token has not the right", async () => {
    const challenge = await setUp();
    for (const [call, code, token] of [
      ["POST /notify", "channel_forbidden", limitedKey],
      ["DELETE /connections/alice", "channel_forbidden", limitedKey],
      ["DELETE /connections/alice", "admin_required", apiKey],
    ] as const) {
      expect(await challenge(call, code, bearer(token))).toEqual([call, bearer(token), insufficient]);
      const headers = { "X-API-Key": token };
      expect(await challenge(call, code, headers)).toEqual([call, headers, null]);
    }
    const inBody = JSON.stringify({ API_KEY: limitedKey, msg: 1, channel: "msf" });
    expect(await challenge("POST /notify", "channel_forbidden", {}, inBody)).toEqual(["POST /notify", {}, null]);
  });

  test("stays short where many channels are forbidden", async () => {
    const challenge = await setUp();
    const many = JSON.stringify({ msg: 1, channel: Array.from({ length: 900 }, (_, i) => `c${i}`) });
    const headers = bearer(limitedKey);
    const seen = await challenge("POST /notify", "channel_forbidden", headers, many);
    expect(seen).toEqual(["POST /notify", headers, insufficient]);
  });

  test("names insufficient_scope where the roles of an access token open no channel", async () => {
    const realm = await startRealm({ now: Date.now });
    realms.push(realm);
    const env = { AMPER_KEYCLOAK_ISSUER: realm.issuer };
    const { url } = await start(env, { toml: '[channels.desk]\nroles = ["reader"]' });
    const response = await fetch(`${url}/authorize`, { headers: bearer(await realm.mint()) });
    expect(response.headers.get("www-authenticate")).toEqual(insufficient);
    await expectProblem(response, "no_channel");
  });

  test("names no error where the token is not what is wrong", async () => {
    const { url } = await start({ AMPER_REQUIRE_BOUND_TOKENS: "true" });
    const response = await fetch(`${url}/authorize`, { headers: bearer(wsToken) });
    expect(response.headers.get("www-authenticate")).toBeNull();
    await expectProblem(response, "unbound_forbidden");
  });
});
