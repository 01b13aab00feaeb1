import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, connected, notify } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, metric, rawPolling, talk, upgradeHeaders } from "./support/raw.ts";
import { apiKey, wsToken } from "./support/service.ts";

/** What a hostile page can make a browser do, and what a link or a log could give away, against the executable. */

const listed = "https://app.example";

/** Origins that are not the listed one, whatever they look like. */
const foreign = [
  "https://evil.example",
  "null",
  "",
  "http://app.example",
  "https://app.example:8443",
  "https://app.example.evil.example",
  "https://evil-app.example",
  "https://sub.app.example",
  "https://app.example.",
  "https://app.example/",
  "https://APP.example",
  "https://app.example@evil.example",
  "https://evil.example#https://app.example",
  "https://app.example, https://evil.example",
  "file://",
  "chrome-extension://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "http://127.0.0.1",
  "http://localhost",
  "http://[",
];

describe("a page of another origin", () => {
  test("opens no session, by polling or by websocket, and joins none that is open already", async () => {
    const { url } = await launch({ env: { AMPER_CORS_ORIGINS: listed } });
    const { sid, post } = await rawPolling(url);
    for (const origin of foreign) {
      const from = { Origin: origin };
      const upgrade = { ...upgradeHeaders, ...from };
      const asked = [
        await fetch(engineUrl(url, "polling"), { headers: from }),
        await fetch(engineUrl(url, "websocket"), { headers: upgrade }),
        await fetch(engineUrl(url, "polling", sid), { headers: from }),
        await fetch(engineUrl(url, "polling", sid), { method: "POST", headers: from, body: "1" }),
        await fetch(engineUrl(url, "websocket", sid), { headers: upgrade }),
      ];
      for (const response of asked) {
        expect([origin, response.status]).toEqual([origin, 403]);
        expect([origin, response.headers.get("access-control-allow-origin")]).toEqual([origin, null]);
        await expectProblem(response, "origin_forbidden");
      }
    }
    expect(await metric(url, "amper_sessions")).toBe(1);
    expect((await post("3")).status).toBe(200);
  });

  test("may not read an answer, nor ask with a token in a header", async () => {
    const { url } = await launch({ env: { AMPER_CORS_ORIGINS: listed } });
    for (const origin of foreign) {
      const preflight = await fetch(`${url}/authorize`, {
        method: "OPTIONS",
        headers: { Origin: origin, "Access-Control-Request-Method": "GET" },
      });
      const asked = await fetch(`${url}/authorize`, {
        headers: { Origin: origin, Authorization: `Bearer ${wsToken}` },
      });
      for (const { headers } of [preflight, asked]) {
        const told = ["allow-origin", "allow-headers", "allow-credentials"].map((name) =>
          headers.get(`access-control-${name}`),
        );
        expect([origin, told]).toEqual([origin, [null, null, null]]);
        expect(headers.get("vary")).toContain("Origin");
      }
    }
  });

  test("never has the browser send or keep a login of ours: there are no cookies, and no credentials by CORS", async () => {
    const { url } = await launch();
    const headers = { Origin: listed, Authorization: `Bearer ${wsToken}`, Cookie: "session=1" };
    for (const path of ["/authorize", "/socket.io/?EIO=4&transport=polling", "/socket.io/socket.io.js"]) {
      const response = await fetch(url + path, { headers });
      expect(response.headers.get("set-cookie")).toBeNull();
      expect(response.headers.get("access-control-allow-credentials")).toBeNull();
    }
  });

  test("cannot read metrics by giving its own name our address (DNS rebinding)", async () => {
    const { url } = await launch();
    const { port } = new URL(url);
    const ask = async (host: string) => {
      const { answers } = await talk(url, `GET /metrics HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      return answers[0]?.status;
    };
    for (const host of [
      `evil.example:${port}`,
      "evil.example",
      `localhost.evil.example:${port}`,
      "127.0.0.1.evil.example",
    ]) {
      expect([host, await ask(host)]).toEqual([host, 403]);
    }
    for (const host of [
      `127.0.0.1:${port}`,
      "127.0.0.1",
      `localhost:${port}`,
      "LOCALHOST",
      `[::1]:${port}`,
      "127.1.2.3",
    ]) {
      expect([host, await ask(host)]).toEqual([host, 200]);
    }
  });
});

describe("in a query string, which ends up in logs and histories, no secret is read:", () => {
  const names = ["API_KEY", "api_key", "apikey", "key", "token", "access_token", "Authorization", "X-API-Key", "auth"];
  const query = (secret: string) => names.map((name) => `${name}=${encodeURIComponent(secret)}`).join("&");

  test("an API key, at any address that takes one", async () => {
    const { url } = await launch();
    const good = await connected(url, "alice", "msf", { transports: ["websocket"] });
    const body = JSON.stringify({ msg: "never", channel: "msf" });
    for (const [path, init] of [
      ["/notify", { method: "POST", body }],
      ["/connections", {}],
      ["/connections/alice", {}],
      ["/connections/alice", { method: "DELETE" }],
    ] as const) {
      await expectProblem(await fetch(`${url}${path}?${query(apiKey)}`, init), "api_key_invalid");
    }
    await notify(url, { msg: "undisturbed", keycloak: "alice" });
    expect(await good.count(1)).toEqual(["undisturbed"]);
  });

  test("a WS token, and a websocket token, at /authorize and at the handshake", async () => {
    const { url } = await launch();
    const { token } = await authorize(url, "?keycloakID=alice");
    await expectProblem(await fetch(`${url}/authorize?${query(wsToken)}`), "token_invalid");
    await expectProblem(await fetch(`${url}/authorize?${query(token)}`), "token_invalid");
    const polling = await rawPolling(url, `&${query(token)}&keycloakID=alice&channel=msf`);
    await polling.send('40{"keycloakID":"alice","channel":"msf"}');
    expect(await polling.next()).toContain('"code":"token_missing"');
  });

  test("the metrics token", async () => {
    const { url } = await launch({ env: { AMPER_METRICS_TOKEN: "metrics-token-0123456789" } });
    const asked = await fetch(`${url}/metrics?${query("metrics-token-0123456789")}`);
    await expectProblem(asked, "metrics_token_invalid");
  });
});
