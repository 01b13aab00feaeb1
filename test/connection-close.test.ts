import { describe, expect, test } from "bun:test";
import { authorize } from "./support/client.ts";
import { dialogue } from "./support/dialogue.ts";
import { node, runNode } from "./support/node.ts";
import { describeWith } from "./support/parts.ts";
import { rawPolling, talk, type Talk } from "./support/raw.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** A client that does not read `Connection: close` uses the connection again, and finds it closed (RFC 9112 9.6). */

const body = (content: string) =>
  `Content-Type: application/json\r\nContent-Length: ${content.length}\r\n\r\n${content}`;
const good = JSON.stringify({ msg: 1, channel: "msf" });
const engine = "/socket.io/?EIO=4&transport=polling";

/** Requests by the status of their answer: a request line, and what follows the headers that a test adds. */
const requests: readonly (readonly [status: number, line: string, rest: string])[] = [
  [200, "GET /health/live", "\r\n"],
  [200, "HEAD /health/live", "\r\n"],
  [200, "GET /authorize", `Authorization: Bearer ${wsToken}\r\n\r\n`],
  [200, "POST /notify", `X-API-Key: ${apiKey}\r\n${body(good)}`],
  [200, "GET /socket.io/socket.io.min.js", "\r\n"],
  [200, "GET /metrics", "\r\n"],
  [200, `GET ${engine}`, "\r\n"],
  [204, "OPTIONS /health/live", "\r\n"],
  [204, "OPTIONS /authorize", "Origin: https://page.example.com\r\n\r\n"],
  [204, `OPTIONS ${engine}`, "Origin: https://page.example.com\r\n\r\n"],
  [400, "POST /notify", `X-API-Key: ${apiKey}\r\n${body("{")}`],
  [400, `GET ${engine}&sid=unknown`, "\r\n"],
  [400, `POST ${engine}&sid=unknown`, body("3")],
  [401, "POST /notify", body(good)],
  [401, "GET /authorize", "\r\n"],
  [403, "GET /health/live", "Origin: https://page.example.com\r\n\r\n"],
  [404, "GET /nowhere", "\r\n"],
  [405, "DELETE /notify", "\r\n"],
  [413, "POST /notify", `X-API-Key: ${apiKey}\r\n${body("x".repeat(70_000))}`],
  [414, `GET /${"x".repeat(9000)}`, "\r\n"],
  [415, "POST /notify", `X-API-Key: ${apiKey}\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n1`],
];

describe("an answer to `Connection: close` says `Connection: close`", () => {
  for (const [status, line, rest] of requests) {
    test(`${status} to ${line.slice(0, 60)}`, async () => {
      const { url } = await start();
      const { text, closed } = await talk(url, `${line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n${rest}`, {
        enough: Infinity,
      });
      expect(text).toStartWith(`HTTP/1.1 ${status} `);
      expect(text.match(/^connection: close\r$/gim)).toHaveLength(1);
      expect(closed).toBe(true);
    });
  }

  test("304 to a client file that is known", async () => {
    const { url } = await start();
    const path = "/socket.io/socket.io.min.js";
    const etag = (await fetch(`${url}${path}`, { headers: { "Accept-Encoding": "identity" } })).headers.get("etag");
    const request = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nIf-None-Match: ${etag}\r\n\r\n`;
    const { answers, closed } = await talk(url, request, { enough: Infinity });
    expect(answers).toMatchObject([{ status: 304, body: "" }]);
    expect(answers[0]?.headers.get("connection")).toBe("close");
    expect(closed).toBe(true);
  });

  for (const lines of [
    "Connection: Close",
    "connection: CLOSE",
    "Connection: close, TE",
    "Connection: TE,close",
    "Connection: keep-alive, close",
    "Connection: ,close ,",
    "Connection: TE\r\nConnection: close",
    "Connection: close\r\nConnection: keep-alive",
  ]) {
    test(`written as ${JSON.stringify(lines)}`, async () => {
      const { url } = await start();
      const request = `GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines}\r\n\r\n`;
      const { answers, closed } = await talk(url, request, { enough: Infinity });
      expect(answers[0]?.headers.get("connection")).toBe("close");
      expect(closed).toBe(true);
    });
  }

  test("a request of HTTP/1.0 without Host is closed as well", async () => {
    const { url } = await start();
    const { answers, closed } = await talk(url, "GET /health/live HTTP/1.0\r\n\r\n", { enough: Infinity });
    expect(answers[0]?.headers.get("connection")).toBe("close");
    expect(closed).toBe(true);
  });
});

describe("a connection stays open, and is not said to end", () => {
  for (const value of ["keep-alive", "TE", "closed", "x-close", "close;q=1", '"close"']) {
    test(`after \`Connection: ${value}\``, async () => {
      const { url } = await start();
      const { ask } = await dialogue(url);
      const request = `GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: ${value}\r\n\r\n`;
      for (let i = 0; i < 2; i++) expect((await ask(request)).headers.get("connection") ?? "").not.toBe("close");
    });
  }
});

test("while the service stops, each answer says `Connection: close`", async () => {
  const service = await start();
  const { token } = await authorize(service.url);
  // Waited for by the stop, which closes idle connections after that.
  const polling = await rawPolling(service.url);
  await polling.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
  expect(await polling.next()).toStartWith("40");
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
  const paths = ["/nowhere", "/health/live", engine, "/socket.io/socket.io.js"];
  const open = await Promise.all(paths.map(async (path) => ({ path, connection: await dialogue(service.url) })));
  for (const { connection } of open) {
    expect((await connection.ask(get("/health/live"))).headers.get("connection")).toBeUndefined();
  }
  for (const { path, connection } of open) connection.write(get(path));
  const stopped = service.stop();
  for (const { path, connection } of open) {
    expect([path, (await connection.answer()).headers.get("connection")]).toEqual([path, "close"]);
    await connection.ended();
  }
  await polling.next();
  await stopped;
});

describe("beside its body an answer is what RFC 9110 asks for", () => {
  test("HEAD has the headers of GET, Date included, and no body", async () => {
    const { url } = await start();
    for (const path of ["/health/live", "/socket.io/socket.io.min.js", "/nowhere"]) {
      const [get, head] = await Promise.all(
        ["GET", "HEAD"].map((method) =>
          talk(
            url,
            `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: same\r\nConnection: close\r\n\r\n`,
            {
              enough: Infinity,
            },
          ),
        ),
      );
      const headersOf = (talked: Talk | undefined) =>
        Object.fromEntries([...(talked?.answers[0]?.headers ?? [])].filter(([name]) => name !== "date"));
      expect(headersOf(head)).toEqual(headersOf(get));
      for (const talked of [get, head]) expect(talked?.answers[0]?.headers.get("date")).toEndWith(" GMT");
      expect(head?.text.endsWith("\r\n\r\n")).toBe(true);
    }
  });

  test("204 and 304 have neither a body nor a length", async () => {
    const { url } = await start();
    const etag = (await fetch(`${url}/socket.io/socket.io.js`, { headers: { "Accept-Encoding": "identity" } })).headers;
    for (const request of [
      "OPTIONS /authorize HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
      `GET /socket.io/socket.io.js HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nIf-None-Match: ${etag.get("etag")}\r\n\r\n`,
    ]) {
      const { text, answers } = await talk(url, request, { enough: Infinity });
      expect(text.endsWith("\r\n\r\n")).toBe(true);
      expect([...(answers[0]?.headers.keys() ?? [])]).not.toContain("content-length");
      expect([...(answers[0]?.headers.keys() ?? [])]).toContain("date");
    }
  });
});

describeWith(node, "Node's own agent, with connections that it keeps", () => {
  const source = `
    import http from "node:http";
    const [url, connection, count] = process.argv.slice(1);
    const agent = new http.Agent({ keepAlive: true });
    const headers = { "Content-Type": "application/json", "X-API-Key": "${apiKey}" };
    if (connection !== "") headers.Connection = connection;
    const post = () => new Promise((resolve) => {
      const request = http.request(url + "/notify", { method: "POST", agent, headers }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode));
      });
      request.on("error", (error) => resolve(error.message));
      request.end(${JSON.stringify(good)});
    });
    const seen = {};
    for (let i = 0; i < Number(count); i++) { const one = await post(); seen[one] = (seen[one] ?? 0) + 1; }
    console.log(JSON.stringify(seen));
    process.exit();`;

  for (const connection of ["close", "Close", ""]) {
    test(`50 calls one after the other succeed with Connection ${JSON.stringify(connection)}`, async () => {
      const { url } = await start();
      expect(JSON.parse(await runNode(source, url, connection, "50"))).toEqual({ 200: 50 });
    });
  }
});
