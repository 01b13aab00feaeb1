import { describe, expect, test } from "bun:test";
import { readmePath } from "./house/docs.ts";
import { launch } from "./support/binary.ts";
import { authorize, next, notify, page, transports } from "./support/client.ts";
import { describeNginx, nginxOf, startNginx } from "./support/nginx.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, talk } from "./support/raw.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** The service below a path: behind a proxy that does not strip it, and behind one that does. */

const toml = `[api_keys.backend]\nkey = "${apiKey}"\nadmin = true\n`;
const credentials = { Authorization: `Bearer ${wsToken}`, "X-API-Key": apiKey };

/** Every address of the service, and how it answers there. */
const addresses: readonly [status: number, method: string, path: string, body?: string][] = [
  [200, "GET", "/authorize"],
  [200, "POST", "/notify", `{"API_KEY":"${apiKey}","msg":1,"channel":"msf"}`],
  [200, "GET", "/socket.io/?EIO=4&transport=polling"],
  [200, "GET", "/socket.io/socket.io.min.js"],
  [200, "GET", "/socket.io/socket.io.esm.min.js.map"],
  [204, "OPTIONS", "/authorize"],
  [204, "OPTIONS", "/socket.io/"],
  [200, "GET", "/connections"],
  [200, "GET", "/connections/alice"],
  [200, "DELETE", "/connections/alice"],
  [200, "GET", "/health/live"],
  [200, "GET", "/health/ready"],
  [200, "GET", "/metrics"],
  [405, "GET", "/backchannel-logout"],
];

async function statusAt(url: string, [, method, path, body]: (typeof addresses)[number]): Promise<number> {
  const isKeyed = path.startsWith("/connections");
  const headers = isKeyed ? { "X-API-Key": apiKey } : { Authorization: credentials.Authorization };
  const init = { method, ...(path !== "/notify" && { headers }), ...(body !== undefined && { body }) };
  return (await fetch(url + path, init)).status;
}

describe("with a base_path", () => {
  for (const [written, path] of [
    ["/notifications", "/notifications"],
    ["notifications/", "/notifications"],
    ["/a.b/c~d/E_f-1", "/a.b/c~d/E_f-1"],
  ] as const) {
    test(`everything is below it, and nothing beside it: ${written}`, async () => {
      const { url } = await start({ AMPER_BASE_PATH: written }, { toml });
      const { origin, pathname } = new URL(url);
      expect(pathname).toBe(path);
      for (const address of addresses) {
        const [status, method, below] = address;
        expect([method, below, await statusAt(url, address)]).toEqual([method, below, status]);
        for (const beside of [
          "",
          "/",
          path.toUpperCase() === path ? "/x" : path.toUpperCase(),
          `${path}${path}`,
          `${path}x`,
        ]) {
          expect([method, beside, below, await statusAt(origin + beside, address)]).toEqual([
            method,
            beside,
            below,
            404,
          ]);
        }
      }
      const { detail } = await expectProblem(await fetch(`${origin}/health/live`), "not_found");
      expect(detail).toBe(`There is nothing at this address: all is below ${path}/ (base_path).`);
      const nowhere = await expectProblem(await fetch(`${url}/nowhere`), "not_found");
      expect(nowhere.detail).not.toContain("base_path");
    });
  }

  test("a path counts as it was sent there, too", async () => {
    const { url } = await start({ AMPER_BASE_PATH: "/notifications" });
    for (const target of [
      "/notifications/../notify",
      "/x/../notifications/health/live",
      "/notifications/socket.io/..\\health/live",
      "/%6eotifications/health/live",
      "//notifications/health/live",
      "/notifications//health/live",
    ]) {
      const { answers } = await talk(url, `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect([target, ...answers.map(({ status }) => status)]).toEqual([target, 404]);
    }
  });

  test("logs and metrics name the routes as ever", async () => {
    const { url } = await start({ AMPER_BASE_PATH: "/notifications" });
    await notify(url, { msg: 1, channel: "msf" });
    expect(await metric(url, 'amper_http_requests_total{route="/notify",status="200"}')).toBe(1);
  });

  for (const [name, options] of Object.entries(transports)) {
    test(`a stock client connects by its path, and is notified, ${name}`, async () => {
      const { url } = await start({ AMPER_BASE_PATH: "/notifications" });
      await expectNotified(url, options);
    });
  }
});

test("/, and nothing, are no base_path", async () => {
  for (const written of ["", "/"]) {
    const { url } = await start({ AMPER_BASE_PATH: written });
    expect(new URL(url).pathname).toBe("/");
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
  }
});

test("the log and what `serve --dev` prints contain it, and work as they stand", async () => {
  const { url, said, lines } = await launch({ args: ["serve", "--dev", "--base-path=/notifications"] });
  expect(new URL(url).pathname).toBe("/notifications");
  await said(/"keycloak":"alice","channel":"msf"/);
  const curls = lines.filter((line) => line.startsWith("  curl "));
  expect(curls).toHaveLength(4);
  for (const curl of curls) expect(curl).toContain(`${url}/`);
  const { origin } = new URL(url);
  expect(lines.join("\n")).toContain(`import("${url}/socket.io/socket.io.esm.min.js")`);
  expect(lines.join("\n")).toContain(`io("${origin}", { path: "/notifications/socket.io/", auth:`);
  const { lines: plain, said: sayingPlain, url: root } = await launch({ args: ["serve", "--dev"] });
  await sayingPlain(/"keycloak":"alice","channel":"msf"/);
  expect(plain.join("\n")).toContain(`io("${root}", { auth:`);
});

async function expectNotified(url: string, options: object = {}): Promise<void> {
  const { origin, pathname } = new URL(url);
  const { token } = await authorize(url);
  const keycloakID = crypto.randomUUID();
  const auth = { token, keycloakID, channel: "msf" };
  const { socket, count } = page(origin, auth, { ...options, path: `${pathname}/socket.io/` });
  await next(socket, "connect");
  expect((await notify(url, { msg: "hello", keycloak: keycloakID })).connections).toBe(1);
  expect(await count(1)).toEqual(["hello"]);
}

describeNginx("below a path of nginx, as in the README,", () => {
  test("a page connects and is notified, with and without stripping", async () => {
    const readme = await Bun.file(readmePath).text();
    for (const strips of [false, true]) {
      const service = await start({
        AMPER_TRUST_PROXY_HOPS: "1",
        ...(!strips && { AMPER_BASE_PATH: "/notifications" }),
      });
      const { http = "", server } = nginxOf(readme, new URL(service.url).origin);
      const below = server.replace("location /", "location /notifications/");
      const front = await startNginx({
        http,
        server: strips ? below.replace(/(proxy_pass http:\/\/[^;/]+);/, "$1/;") : below,
      });
      for (const options of Object.values(transports)) await expectNotified(`${front.url}/notifications`, options);
      expect((await fetch(`${front.url}/notifications/health/ready`)).status).toBe(200);
      expect((await fetch(`${front.url}/health/ready`)).status).toBe(404);
    }
  });
});
