import { describe, expect, spyOn, test } from "bun:test";
import { readmePath } from "./house/docs.ts";
import { dialogue } from "./support/dialogue.ts";
import { describeHaproxy, startHaproxy } from "./support/haproxy.ts";
import { describeNginx, nginxOf, startNginx } from "./support/nginx.ts";
import { handled, talk, until, type Answer } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/**
 * Refusals of requests whose body is still coming. A connection that is closed while its client writes is reset, and the answer
 * is lost with it: proxies make a 502 of that, after which a backend tries again for ever.
 */

const text = "Content-Type: text/plain\r\n";
const key = `X-API-Key: ${apiKey}\r\n`;
const declared = (bytes: number): string => `Content-Length: ${bytes}\r\n`;

/** Statuses by a request line and headers; the body is of zeros, 20 KiB unless it has to be too large. */
const refusals: readonly (readonly [status: number, line: string, headers: string, bytes: number])[] = [
  [401, "POST /notify", "X-API-Key: wrong\r\n", 20_480],
  [403, "POST /notify", `${key}Origin: https://page.example.com\r\n`, 20_480],
  [404, "POST /nowhere", "", 20_480],
  [405, "PUT /notify", key, 20_480],
  [413, "POST /notify", key, 100_000],
  [415, "POST /notify", `${key}${text}`, 20_480],
  [415, "POST /backchannel-logout", "Content-Type: application/json\r\n", 20_480],
  [400, "POST /socket.io/?EIO=4&transport=polling&sid=unknown", "", 20_480],
  [413, "POST /notify", "", 1_000_000],
];

/** The body in a few pieces, each on its way after the server has got the one before. */
async function* piecesOf(url: string, bytes: number, isChunked: boolean) {
  const most = Math.max(10_000, bytes / 5);
  for (let sent = 0; sent < bytes; sent += most) {
    const size = Math.min(most, bytes - sent);
    const piece = "0".repeat(size);
    yield isChunked ? `${size.toString(16)}\r\n${piece}\r\n` : piece;
    await handled(url);
  }
  if (isChunked) yield "0\r\n\r\n";
}

for (const isChunked of [false, true]) {
  describe(isChunked ? "a body in chunks" : "a body of a declared length", () => {
    for (const [status, line, headers, bytes] of refusals) {
      const length = isChunked ? "Transfer-Encoding: chunked\r\n" : declared(bytes);
      const head = `${line} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}${length}`;

      test(`${status} to ${line}, ${bytes} bytes: the connection may be used again`, async () => {
        const { url } = await start();
        const { write, ask, answer } = await dialogue(url);
        write(`${head}\r\n`);
        for await (const piece of piecesOf(url, bytes, isChunked)) write(piece);
        expect((await answer()).status).toBe(status);
        expect((await ask("GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).status).toBe(200);
      });

      test(`${status} to ${line}, ${bytes} bytes: answered after its end where the connection ends`, async () => {
        const patience = waitForever(2000);
        try {
          const { url } = await start();
          const connection = await dialogue(url);
          connection.write(`${head}Connection: close\r\n\r\n`);
          for await (const piece of piecesOf(url, bytes, isChunked)) {
            expect(connection.hasAnswer || connection.hasEnded).toBe(false);
            connection.write(piece);
          }
          const answer = await connection.answer();
          await connection.ended();
          expect([answer.status, answer.headers.get("connection")]).toEqual([status, "close"]);
        } finally {
          patience.mockRestore();
        }
      });
    }
  });
}

describe("a body that never ends is answered", () => {
  const begin = async (url: string, headers: string) => {
    const connection = await dialogue(url);
    connection.write(`POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n0000`);
    return connection;
  };

  test("at once where the connection stays", async () => {
    const { url } = await start();
    expect((await (await begin(url, declared(20_480))).answer()).status).toBe(404);
  });

  test("where the connection ends, too, and ends it", async () => {
    const { url } = await start();
    const connection = await begin(url, `${declared(20_480)}Connection: close\r\n`);
    expect(await connection.answer()).toMatchObject({ status: 404 });
    await connection.ended();
  });

  test("before all is sent of one that is far too large", async () => {
    const { url } = await start();
    const connection = await begin(url, `${declared(1e12)}Connection: close\r\n`);
    const piece = "0".repeat(65_536);
    await until("an end", () => {
      connection.write(piece);
      return connection.hasEnded;
    });
  });

  test("at once when the service stops, or where too many are waited for", async () => {
    const patience = waitForever(2000);
    try {
      const service = await start();
      const headers = `${declared(20_480)}Connection: close\r\n`;
      const waiting = await Promise.all(Array.from({ length: 256 }, () => begin(service.url, headers)));
      await handled(service.url);
      expect((await (await begin(service.url, headers)).answer()).status).toBe(404);
      expect(waiting.filter(({ hasEnded }) => hasEnded)).toHaveLength(0);
      const stopped = service.stop();
      const answers: readonly Answer[] = await Promise.all(waiting.map(({ answer }) => answer()));
      for (const { status, headers: sent } of answers) expect([status, sent.get("connection")]).toEqual([404, "close"]);
      expect(await stopped).toBe(true);
    } finally {
      patience.mockRestore();
    }
  });
});

test("a client that goes away while its body is waited for harms nobody", async () => {
  const { url } = await start();
  for (const length of [declared(20_480), "Transfer-Encoding: chunked\r\n"]) {
    const { closed } = await talk(
      url,
      `POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n${length}\r\n4\r\n0000\r\n`,
      { cut: true },
    );
    expect(closed).toBe(true);
  }
  await handled(url);
});

/** Timers of so many milliseconds do not fire. */
function waitForever(delay_ms: number) {
  const original = globalThis.setTimeout;
  const set = (handler: () => void, ms?: number) => original(ms === delay_ms ? () => {} : handler, ms);
  return spyOn(globalThis, "setTimeout").mockImplementation(Object.assign(set, original));
}

const readme = await Bun.file(readmePath).text();
const hostOf = (url: string): string => new URL(url).host;

async function seenThrough(url: string, bytes: number, headers: Record<string, string>, count: number) {
  const seen: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const { status } = await fetch(`${url}/notify`, { method: "POST", headers, body: "0".repeat(bytes) });
    seen[status] = (seen[status] ?? 0) + 1;
  }
  return seen;
}

function testRefusals(begin: (url: string) => Promise<{ readonly url: string }>): void {
  const json = "application/json";
  test("100 refusals of 20 KiB arrive, and none as 502", async () => {
    const { url } = await start({ AMPER_AUTH_FAILURES_PER_MINUTE: "1000" });
    const front = await begin(url);
    const wrong = { "Content-Type": json, "X-API-Key": "wrong" };
    const form = { "Content-Type": "text/plain", "X-API-Key": apiKey };
    expect(await seenThrough(front.url, 20_480, wrong, 100)).toEqual({ 401: 100 });
    expect(await seenThrough(front.url, 20_480, form, 100)).toEqual({ 415: 100 });
  });

  test("20 refusals of 1 MB arrive as 413", async () => {
    const { url } = await start();
    const front = await begin(url);
    const headers = { "Content-Type": json, "X-API-Key": apiKey };
    expect(await seenThrough(front.url, 1_000_000, headers, 20)).toEqual({ 413: 20 });
  });
}

describeNginx("behind nginx", () => {
  describe("as in the README", () => testRefusals((url) => startNginx(nginxOf(readme, url))));
  describe("with a bare proxy_pass", () =>
    testRefusals((url) => startNginx({ server: `location / { proxy_pass http://${hostOf(url)}; }` })));
  describe("without buffering", () =>
    testRefusals((url) =>
      startNginx({ server: `location / { proxy_pass http://${hostOf(url)}; proxy_request_buffering off; }` }),
    ));
});

describeHaproxy("behind haproxy", () => {
  testRefusals((url) => startHaproxy({ mode: "http", frontend: "", backend: `  server one ${hostOf(url)}` }));
});
