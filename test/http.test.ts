import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { connected, next, page, transports } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

const withKey = { "X-API-Key": apiKey };

test("an unknown address is 404, a wrong method 405 with Allow, OPTIONS tells it too", async () => {
  const { url } = await start();
  for (const path of [
    "/",
    "/notify/",
    "/authorize/x",
    "/socket.io",
    "/socket.io/socket.io.msgpack.min.js",
    "/connections/a/b",
  ]) {
    await expectProblem(await fetch(url + path), "not_found");
  }
  const cases: [method: string, path: string, allow: string][] = [
    ["GET", "/notify", "POST, OPTIONS"],
    ["POST", "/authorize", "GET, HEAD, OPTIONS"],
    ["PUT", "/connections/alice", "GET, HEAD, DELETE, OPTIONS"],
    ["PATCH", "/health/live", "GET, HEAD, OPTIONS"],
  ];
  for (const [method, path, allow] of cases) {
    const response = await fetch(url + path, { method });
    expect(response.headers.get("allow")).toBe(allow);
    await expectProblem(response, "method_not_allowed");
    expect((await fetch(url + path, { method: "OPTIONS" })).headers.get("allow")).toBe(allow);
  }
});

test("HEAD answers as GET does, without the body", async () => {
  const { url } = await start();
  const response = await fetch(`${url}/health/live`, { method: "HEAD" });
  expect([response.status, await response.text()]).toEqual([200, ""]);
});

test("a request keeps its X-Request-Id if that is harmless, and gets one if not", async () => {
  const { url } = await start();
  const ask = async (id: string) =>
    (await fetch(`${url}/health/live`, { headers: { "X-Request-Id": id } })).headers.get("x-request-id");
  expect(await ask("abc-123")).toBe("abc-123");
  for (const id of ["", "a b", '"},{"', "x".repeat(65)]) expect(await ask(id)).toMatch(/^[0-9a-f-]{36}$/);
});

describe("cross-origin pages", () => {
  const listed = "https://app.example";
  const other = "https://evil.example";
  const preflight = (url: string, origin: string) =>
    fetch(`${url}/authorize`, {
      method: "OPTIONS",
      headers: {
        Origin: origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
      },
    });
  const authorizeFrom = (url: string, origin: string) =>
    fetch(`${url}/authorize`, { headers: { Origin: origin, Authorization: `Bearer ${wsToken}` } });

  test("any of them may authorize by default, with a preflight", async () => {
    const { url } = await start();
    const asked = await preflight(url, other);
    expect(asked.status).toBe(204);
    expect(asked.headers.get("access-control-allow-origin")).toBe("*");
    expect(asked.headers.get("access-control-allow-headers")).toContain("Authorization");
    expect(asked.headers.get("access-control-allow-methods")).toContain("GET");
    expect((await authorizeFrom(url, other)).headers.get("access-control-allow-origin")).toBe("*");
  });

  test("with cors_origins only the listed ones may, and errors are readable too", async () => {
    const { url } = await start({ AMPER_CORS_ORIGINS: listed });
    expect((await preflight(url, listed)).headers.get("access-control-allow-origin")).toBe(listed);
    expect((await preflight(url, other)).headers.get("access-control-allow-origin")).toBeNull();
    const response = await authorizeFrom(url, listed);
    expect(response.headers.get("access-control-allow-origin")).toBe(listed);
    expect(response.headers.get("vary")).toContain("Origin");
    expect((await authorizeFrom(url, other)).headers.get("access-control-allow-origin")).toBeNull();
    const refused = await fetch(`${url}/authorize`, { headers: { Origin: listed } });
    expect(refused.headers.get("access-control-allow-origin")).toBe(listed);
    await expectProblem(refused, "token_invalid");
  });

  test("may not notify: no backend's key belongs into a page", async () => {
    const { url } = await start();
    const response = await fetch(`${url}/notify`, { method: "OPTIONS", headers: { Origin: listed } });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  });

  for (const [name, options] of Object.entries(transports)) {
    test(`connect from a listed origin only, ${name}`, async () => {
      const { url } = await start({ AMPER_CORS_ORIGINS: listed });
      await connected(url, "alice", "msf", { ...options, extraHeaders: { Origin: listed } });
      await connected(url, "alice", "msf", { ...options, extraHeaders: { Origin: url } });
      await connected(url, "alice", "msf", options);
      const { socket } = page(url, {}, { ...options, extraHeaders: { Origin: other } });
      await next(socket, "connect_error");
      expect(socket.connected).toBe(false);
    });
  }

  test("cannot hijack: a websocket upgrade from another origin is refused, handshake or not", async () => {
    const { url } = await start({ AMPER_CORS_ORIGINS: listed });
    const upgrade = (query: string) =>
      fetch(`${url}/socket.io/?EIO=4&transport=websocket${query}`, {
        headers: {
          Origin: other,
          Connection: "Upgrade",
          Upgrade: "websocket",
          "Sec-WebSocket-Version": "13",
          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
      });
    await expectProblem(await upgrade(""), "origin_forbidden");
    const opened = await (await fetch(`${url}/socket.io/?EIO=4&transport=polling`)).text();
    await expectProblem(await upgrade(`&sid=${/"sid":"([^"]+)"/.exec(opened)?.[1]}`), "origin_forbidden");
  });
});

describe("the stock client", () => {
  const files = ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js"];

  test("is served in three builds with their maps, compressed, with an ETag, to pages of any origin", async () => {
    const { url } = await start();
    for (const file of files.flatMap((name) => [name, `${name}.map`])) {
      const plain = await fetch(`${url}/socket.io/${file}`, { headers: { "Accept-Encoding": "identity" } });
      const text = await plain.text();
      expect(plain.headers.get("content-encoding")).toBeNull();
      expect(plain.headers.get("access-control-allow-origin")).toBe("*");
      expect(text.length).toBeGreaterThan(40_000);
      for (const encoding of ["br", "gzip"]) {
        const packed = await fetch(`${url}/socket.io/${file}`, { headers: { "Accept-Encoding": encoding } });
        expect(packed.headers.get("content-encoding")).toBe(encoding);
        expect(packed.headers.get("vary")).toContain("Accept-Encoding");
        expect(await packed.text()).toBe(text);
        const etag = packed.headers.get("etag") ?? "";
        expect(etag).not.toBe(plain.headers.get("etag") ?? "");
        const again = await fetch(`${url}/socket.io/${file}`, {
          headers: { "Accept-Encoding": encoding, "If-None-Match": `"x", W/${etag}` },
        });
        expect([again.status, await again.text()]).toEqual([304, ""]);
      }
    }
  });

  test("refused encodings are not used", async () => {
    const { url } = await start();
    const headers = { "Accept-Encoding": "br;q=0, gzip;q=0.5" };
    const response = await fetch(`${url}/socket.io/socket.io.min.js`, { headers });
    expect(response.headers.get("content-encoding")).toBe("gzip");
  });
});

describe("health", () => {
  test("live and ready", async () => {
    const { url } = await start();
    expect(await (await fetch(`${url}/health/live`)).json()).toEqual({ status: "live" });
    expect(await (await fetch(`${url}/health/ready`)).json()).toEqual({ status: "ready", reasons: [] });
  });

  test("not ready without a usable key of the realm, and says why; the service runs", async () => {
    const { url } = await start({ AMPER_KEYCLOAK_ISSUER: "http://127.0.0.1:1/realms/none" });
    const { reasons } = await expectProblem(await fetch(`${url}/health/ready`), "unavailable");
    expect(reasons?.[0]).toStartWith("keycloak: ");
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    const asked = await fetch(`${url}/authorize`, {
      headers: { Authorization: `Bearer ${jwtOf("http://127.0.0.1:1/realms/none")}` },
    });
    expect(asked.headers.get("retry-after")).toMatch(/^\d+$/);
    await expectProblem(asked, "unavailable");
  });
});

function jwtOf(iss: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "RS256", typ: "JWT", kid: "k" })}.${part({ iss })}.c2ln`;
}

describe("metrics", () => {
  test("count what happened, under a name for each", async () => {
    const { url } = await start();
    const { count } = await connected(url, "alice", "msf", { transports: ["websocket"] });
    await fetch(`${url}/notify`, { method: "POST", headers: withKey, body: '{"msg":1,"channel":"msf"}' });
    await fetch(`${url}/notify`, { method: "POST", headers: withKey, body: "{" });
    await count(1);
    const text = await (await fetch(`${url}/metrics`)).text();
    for (const line of [
      'amper_connections{transport="websocket"} 1',
      'amper_connections{transport="polling"} 0',
      'amper_channel_connections{channel="msf"} 1',
      'amper_notifications_total{kind="channel",key="backend"} 1',
      "amper_deliveries_total 1",
      'amper_refusals_total{code="invalid_json"} 1',
      'amper_http_requests_total{route="/notify",status="200"} 1',
      'amper_http_request_duration_seconds_count{route="/notify",status="400"} 1',
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    for (const name of [
      "amper_event_loop_lag_seconds_bucket",
      "process_resident_memory_bytes",
      "process_cpu_seconds_total",
      "amper_build_info",
    ]) {
      expect(text).toMatch(new RegExp(`^${name}[{ ]`, "m"));
    }
  });

  test("name at most a hundred channels", async () => {
    const { url } = await start({ AMPER_MAX_CONNECTIONS_PER_USER: "200" });
    for (let i = 0; i < 105; i++) await connected(url, "alice", `c${i}`, { transports: ["websocket"] });
    const text = await (await fetch(`${url}/metrics`)).text();
    expect(text.match(/^amper_channel_connections\{/gm)).toHaveLength(101);
    expect(text).toContain('amper_channel_connections{channel="(others)"} 5\n');
  });
});

describe("connections", () => {
  test("totals by channel, and where a user is", async () => {
    const { url } = await start();
    for (const [user, channel] of [
      ["alice", "msf"],
      ["alice", "msf"],
      ["alice", "b2b"],
      ["bob", "msf"],
    ] as const) {
      await connected(url, user, channel);
    }
    const get = async (path: string) => (await fetch(url + path, { headers: withKey })).json();
    expect(await get("/connections")).toEqual({ connections: 4, channels: { msf: 3, b2b: 1 } });
    expect(await get("/connections/alice")).toEqual({
      keycloakID: "alice",
      online: true,
      connections: 3,
      channels: { msf: 2, b2b: 1 },
    });
    expect(await get("/connections/carol")).toMatchObject({ online: false, connections: 0, channels: {} });
    expect(await get("/connections/f%3Aldap%3A%C3%A4nne")).toMatchObject({ keycloakID: "f:ldap:änne" });
  });

  test("need a key, and a name that is one", async () => {
    const { url } = await start();
    await expectProblem(await fetch(`${url}/connections`), "api_key_invalid");
    await expectProblem(
      await fetch(`${url}/connections/alice`, { headers: { "X-API-Key": "wrong" } }),
      "api_key_invalid",
    );
    await expectProblem(await fetch(`${url}/connections/alice`, { method: "DELETE" }), "api_key_invalid");
    for (const name of ["a%20", "%", "%ff", "x".repeat(129)]) {
      await expectProblem(await fetch(`${url}/connections/${name}`, { headers: withKey }), "invalid_request");
    }
  });
});

test("HTTP/1.0 without a Host, as balancers' health checks speak it, is answered; Socket.IO is not", async () => {
  const { url } = await start();
  const ask = (path: string) =>
    new Promise<string>((resolve) => {
      let answer = "";
      const socket = connect(Number(new URL(url).port), "127.0.0.1", () =>
        socket.write(`GET ${path} HTTP/1.0\r\n\r\n`),
      );
      socket.on("data", (data) => (answer += String(data)));
      socket.on("close", () => resolve(answer));
    });
  expect(await ask("/health/live")).toContain("200 OK");
  expect(await ask("/socket.io/?EIO=4&transport=polling")).toContain("400 Bad Request");
});

test("an offer of h2c, as curl --http2 makes it, does not disturb polling", async () => {
  const { url } = await start();
  const response = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, {
    headers: { Connection: "Upgrade, HTTP2-Settings", Upgrade: "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA" },
  });
  expect(response.status).toBe(200);
});
