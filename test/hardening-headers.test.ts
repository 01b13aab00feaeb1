import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { certificate } from "./support/certificate.ts";
import { authorize } from "./support/client.ts";
import { engineUrl, parseOpen } from "./support/raw.ts";
import { apiKey, wsToken } from "./support/service.ts";

/** The headers that tell browsers what not to do with an answer, on every one, against the executable. */

const everywhere = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};
/** Meant for pages of all origins, and kept by their browsers. */
const ofClientFiles = {
  ...everywhere,
  "cache-control": "public, no-cache",
  "cross-origin-resource-policy": "cross-origin",
};

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] as const;
const paths = [
  "/",
  "/nowhere",
  `/nowhere?${"x".repeat(9000)}`,
  "/authorize",
  "/authorize?keycloakID=",
  "/notify",
  "/socket.io/",
  "/socket.io/?EIO=4&transport=polling",
  "/socket.io/?EIO=4&transport=websocket",
  "/socket.io/?EIO=4&transport=polling&sid=x",
  "/socket.io/nothing.js",
  "/connections",
  "/connections/alice",
  "/connections/%ff",
  "/health/live",
  "/health/ready",
  "/metrics",
  "/backchannel-logout",
  "/openapi.json",
];

function headersOf(response: Response, names: object): Record<string, string | null> {
  return Object.fromEntries(Object.keys(names).map((name) => [name, response.headers.get(name)]));
}

/** Expects the headers on an answer, and returns its status. */
async function statusOf(what: string, asked: Promise<Response>, expected = everywhere): Promise<number> {
  const response = await asked;
  await response.arrayBuffer();
  expect([what, headersOf(response, expected)]).toEqual([what, expected]);
  expect([what, response.headers.has("x-request-id")]).toEqual([what, true]);
  expect([what, response.headers.has("strict-transport-security")]).toEqual([what, false]);
  return response.status;
}

describe("security headers", () => {
  for (const [who, credentials] of [
    ["a stranger", {}],
    ["who has a key", { "X-API-Key": apiKey, Authorization: `Bearer ${wsToken}` }],
    ["a page of another origin", { Origin: "https://evil.example", Authorization: `Bearer ${wsToken}` }],
  ] as const) {
    test(`are on every answer to ${who}, at every address, by every method`, async () => {
      const { url } = await launch({ env: { AMPER_CORS_ORIGINS: "https://app.example" } });
      for (const path of paths) {
        for (const method of methods) {
          const body = method === "POST" ? { body: "{}" } : {};
          await statusOf(`${method} ${path}`, fetch(url + path, { method, headers: credentials, ...body }));
        }
      }
    });
  }

  test("are on answers of every status", async () => {
    const { url } = await launch({
      env: { AMPER_CORS_ORIGINS: "https://app.example", AMPER_KEYCLOAK_ISSUER: "http://127.0.0.1:1/realms/none" },
    });
    const withKey = { "X-API-Key": apiKey };
    const notifying = (body: string, headers: Record<string, string> = {}) =>
      fetch(`${url}/notify`, { method: "POST", headers: { ...withKey, ...headers }, body });
    const preflight = {
      method: "OPTIONS",
      headers: { Origin: "https://app.example", "Access-Control-Request-Method": "GET" },
    };
    const once = { "Idempotency-Key": "once" };
    const asked: [status: number, () => Promise<Response>][] = [
      [200, () => notifying('{"msg":1,"channel":"msf"}', once)],
      [200, () => fetch(`${url}/metrics`)],
      [204, () => fetch(`${url}/authorize`, preflight)],
      [204, () => fetch(`${url}/socket.io/?EIO=4&transport=polling`, preflight)],
      [204, () => fetch(`${url}/notify`, { method: "OPTIONS" })],
      [400, () => notifying("{")],
      [401, () => notifying("{}", { "X-API-Key": "wrong" })],
      [401, () => fetch(`${url}/authorize`)],
      [403, () => fetch(engineUrl(url, "polling"), { headers: { Origin: "https://evil.example" } })],
      [403, () => fetch(`${url}/metrics`, { headers: { "X-Forwarded-For": "192.0.2.1" } })],
      [404, () => fetch(`${url}/nowhere`)],
      [405, () => fetch(`${url}/notify`)],
      [413, () => notifying(`"${"x".repeat(70_000)}"`)],
      [414, () => fetch(`${url}/notify?${"x".repeat(9000)}`)],
      [415, () => notifying("{}", { "Content-Type": "text/plain" })],
      [422, () => notifying('{"msg":2,"channel":"msf"}', once)],
      [503, () => fetch(`${url}/health/ready`)],
    ];
    for (const [status, ask] of asked) expect(await statusOf(`${status}`, ask())).toBe(status);
  });

  test("are on the engine's answers: an open packet, a notification, an ok, and a refusal", async () => {
    const { url } = await launch();
    const opened = await fetch(engineUrl(url, "polling"));
    const { sid } = parseOpen(await opened.clone().text());
    expect(await statusOf("open", Promise.resolve(opened))).toBe(200);
    const session = engineUrl(url, "polling", sid);
    const { token } = await authorize(url);
    const body = `40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`;
    expect(await statusOf("CONNECT", fetch(session, { method: "POST", body }))).toBe(200);
    expect(await statusOf("poll", fetch(session))).toBe(200);
    expect(await statusOf("close", fetch(session, { method: "POST", body: "1" }))).toBe(200);
    expect(await statusOf("gone", fetch(session))).toBe(400);
  });

  test("let pages of all origins have the client files, and keep them", async () => {
    const { url } = await launch();
    const file = `${url}/socket.io/socket.io.min.js`;
    const etag = (await fetch(file)).headers.get("etag") ?? "";
    expect(await statusOf("file", fetch(file), ofClientFiles)).toBe(200);
    expect(await statusOf("HEAD", fetch(file, { method: "HEAD" }), ofClientFiles)).toBe(200);
    expect(await statusOf("known", fetch(file, { headers: { "If-None-Match": etag } }), ofClientFiles)).toBe(304);
    expect(await statusOf("map", fetch(`${file}.map`), ofClientFiles)).toBe(200);
  });

  test("tell browsers to stay with TLS where the service itself speaks it, and nowhere else", async () => {
    const { cert, key } = certificate();
    const { url } = await launch({ env: { AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key } });
    for (const path of ["/health/live", "/nowhere", "/socket.io/?EIO=4&transport=polling", "/socket.io/socket.io.js"]) {
      const { headers } = await fetch(url + path, { tls: { rejectUnauthorized: false } });
      expect([path, headers.get("strict-transport-security")]).toEqual([path, "max-age=31536000"]);
    }
  });
});
