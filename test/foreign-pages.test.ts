import { describe, expect, test } from "bun:test";
import { authorize, connected, next, page, post, transports } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, metric, talk, upgradeHeaders } from "./support/raw.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** What a page of another origin makes its visitor's browser send counts for nothing at the visitor's address. */

const listed = "https://app.example";
const other = "https://evil.example";

/** What browsers say of a page of another origin. */
const foreign: Record<string, Record<string, string>> = {
  "another origin": { Origin: other },
  "a listed origin": { Origin: listed },
  "an opaque origin": { Origin: "null" },
  "an empty origin": { Origin: "" },
  "the service's host at another port": { Origin: "http://127.0.0.1:1" },
  "the service's host as user of another": { Origin: "http://127.0.0.1@evil.example" },
  "two origins": { Origin: `${other}, ${listed}` },
  "an origin without a host": { Origin: "file://" },
  "another site": { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors" },
  "another site, by CORS": { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors" },
  "the same site": { "Sec-Fetch-Site": "same-site" },
  "the same site, in capitals": { "Sec-Fetch-Site": "Same-Site" },
  "two sites": { "Sec-Fetch-Site": "same-origin, cross-site" },
};
const navigation = { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate" };

/** Every route that is for backends, Keycloak and operators, each with what it takes to be accepted. */
const forBackends: readonly [method: string, path: string, body?: string][] = [
  ["POST", "/notify", '{"msg":1,"channel":"msf"}'],
  ["GET", "/connections"],
  ["GET", "/connections/alice"],
  ["DELETE", "/connections/alice"],
  ["GET", "/metrics"],
  ["HEAD", "/metrics"],
  ["POST", "/backchannel-logout", "logout_token=a.b.c"],
  ["GET", "/health/live"],
  ["GET", "/health/ready"],
];

async function setUp(env: Record<string, string> = {}) {
  const now_ms = Date.now();
  const { url } = await start(
    { AMPER_AUTH_FAILURES_PER_MINUTE: "5", ...env },
    { now: () => now_ms, toml: `[api_keys]\nadmin = { key = "${apiKey}", admin = true }` },
  );
  const ask = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    fetch(url + path, { method, headers: { "X-API-Key": apiKey, ...headers }, ...(body !== undefined && { body }) });
  return { url, ask };
}

describe.each([
  ["any origin", {}],
  ["listed origins", { AMPER_CORS_ORIGINS: listed }],
])("a route that is not for pages, with %s,", (_, env) => {
  test("refuses pages of other origins, even with a good key", async () => {
    const { url, ask } = await setUp(env);
    for (const [method, path, body] of forBackends) {
      for (const [who, headers] of Object.entries(foreign)) {
        const response = await ask(method, path, headers, body);
        expect([method, path, who, response.status]).toEqual([method, path, who, 403]);
        if (method !== "HEAD") await expectProblem(response, "origin_forbidden");
      }
    }
    expect(await metric(url, 'amper_http_requests_total{route="/notify",status="200"}')).toBe(0);
  });

  test("takes those of its own origin, however its scheme and its name are written", async () => {
    const { url, ask } = await setUp(env);
    const { port } = new URL(url);
    for (const headers of [
      {},
      { Origin: url },
      { Origin: url.replace("http:", "https:") },
      { Origin: url.toUpperCase() },
      { Origin: url, "Sec-Fetch-Site": "same-origin" },
      { "Sec-Fetch-Site": "same-origin" },
      { "Sec-Fetch-Site": "none" },
      { "Sec-Fetch-Mode": "cors" },
      { Host: "Notify.example", Origin: "https://notify.example" },
      { Host: "notify.example:443", Origin: "https://notify.example" },
      { Host: `notify.example:${port}`, Origin: `https://notify.example:${port}` },
    ]) {
      for (const [method, path, body] of forBackends) {
        const { status } = await ask(method, path, headers, body);
        expect([headers, path, status === 403 && path !== "/metrics"]).toEqual([headers, path, false]);
      }
    }
  });

  test("can be looked at by following a link, and no more than that", async () => {
    const { ask } = await setUp(env);
    for (const [method, path, body] of forBackends) {
      const { status } = await ask(method, path, navigation, body);
      expect([method, path, status === 403]).toEqual([method, path, method !== "GET"]);
      const { status: withOrigin } = await ask(method, path, { ...navigation, Origin: "null" }, body);
      expect([method, path, withOrigin]).toEqual([method, path, 403]);
    }
  });
});

test("what a page of another origin sends is judged by nobody: it is no guess, and takes no rate", async () => {
  const { url } = await setUp({
    AMPER_CORS_ORIGINS: listed,
    AMPER_AUTHORIZE_RATE_PER_SECOND: "1",
    AMPER_AUTHORIZE_BURST: "2",
  });
  const bad = { API_KEY: "x" };
  for (let i = 0; i < 20; i++) {
    await expectProblem(await post(url, bad, { Origin: other }), "origin_forbidden");
    const logout = { method: "POST", headers: { Origin: "null" }, body: "logout_token=x" };
    await expectProblem(await fetch(`${url}/backchannel-logout`, logout), "origin_forbidden");
    const authorization = { Origin: other, Authorization: "Bearer wrong-0123456789" };
    await expectProblem(await fetch(`${url}/authorize`, { headers: authorization }), "origin_forbidden");
    await fetch(`${url}/notify`, { method: "OPTIONS", headers: { Origin: other } });
  }
  expect(await metric(url, 'amper_limited_total{limit="auth_failures_per_minute"}')).toBe(0);
  expect(await metric(url, 'amper_limited_total{limit="authorize_rate_per_second"}')).toBe(0);
  expect(await metric(url, 'amper_refusals_total{code="origin_forbidden"}')).toBe(60);
  await expectProblem(await post(url, bad), "api_key_invalid");
  expect((await post(url, { API_KEY: apiKey, msg: 1, channel: "msf" })).status).toBe(200);
  for (const status of [200, 200]) {
    const headers = { Authorization: `Bearer ${wsToken}` };
    expect((await fetch(`${url}/authorize`, { headers })).status).toBe(status);
  }
});

test("a body that is still coming is not waited for", async () => {
  const { url } = await setUp();
  const head = `POST /notify HTTP/1.1\r\nHost: ${new URL(url).host}\r\nOrigin: ${other}\r\nContent-Length: 1000\r\n\r\n{`;
  const { answers } = await talk(url, head);
  expect(answers.map(({ status }) => status)).toEqual([403]);
});

describe("with listed origins, a route for pages", () => {
  const env = { AMPER_CORS_ORIGINS: listed };

  test("refuses pages of others also where they send no Origin, as an image does", async () => {
    const { url } = await setUp(env);
    for (const site of ["cross-site", "same-site"]) {
      for (const mode of ["no-cors", "navigate"]) {
        const headers = { "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode };
        for (const address of [`${url}/authorize`, engineUrl(url, "polling")]) {
          await expectProblem(await fetch(address, { headers }), "origin_forbidden");
        }
        const upgrade = { ...upgradeHeaders, ...headers };
        await expectProblem(await fetch(engineUrl(url, "websocket"), { headers: upgrade }), "origin_forbidden");
      }
    }
    expect(await metric(url, "amper_sessions")).toBe(0);
  });

  test("takes pages of a listed origin, of its own, and what is no page", async () => {
    const { url } = await setUp(env);
    for (const headers of [
      {},
      { Origin: listed, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors" },
      { Origin: url, "Sec-Fetch-Site": "same-origin" },
      { "Sec-Fetch-Site": "same-origin" },
      { "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate" },
    ]) {
      const authorization = { Authorization: `Bearer ${wsToken}`, ...headers };
      expect((await fetch(`${url}/authorize`, { headers: authorization })).status).toBe(200);
      expect((await fetch(engineUrl(url, "polling"), { headers })).status).toBe(200);
    }
  });

  test("gives its client's files to any page: a script tag sends no Origin", async () => {
    const { url } = await setUp(env);
    for (const headers of [{ "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors" }, { Origin: other }]) {
      expect((await fetch(`${url}/socket.io/socket.io.min.js`, { headers })).status).toBe(200);
    }
  });

  for (const [name, options] of Object.entries(transports)) {
    test(`counts no bad token of a page of others as a guess, ${name}`, async () => {
      const { url } = await setUp(env);
      const bad = { token: "nonsense", keycloakID: "alice", channel: "msf" };
      for (let i = 0; i < 8; i++) {
        const { socket } = page(url, bad, { ...options, extraHeaders: { Origin: other } });
        await next(socket, "connect_error");
        socket.disconnect();
      }
      await expectProblem(await post(url, { API_KEY: "x" }), "api_key_invalid");
      await connected(url, "alice", "msf", { ...options, token: (await authorize(url)).token });
    });
  }
});
