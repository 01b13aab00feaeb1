import { describe, expect, test } from "bun:test";
import { dialogue, type Dialogue } from "./support/dialogue.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** Pools keep connections for a minute, and lose a call where the other side keeps them for less. */

const notification = JSON.stringify({ msg: 1, channel: "msf" });
const json = `Content-Type: application/json\r\nContent-Length: ${notification.length}\r\n`;
const engine = "/socket.io/?EIO=4&transport=polling";
const proxied = "X-Forwarded-For: 192.0.2.1\r\n";
const metricsToken = "test-metrics-token-0123";

const request = (line: string, headers = "", body = ""): string =>
  `${line} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n${body}`;

const notify = (headers: string): string => request("POST /notify", `${json}${headers}`, notification);

async function askedOnce(env: Record<string, string>, bytes: string) {
  const { url } = await start(env);
  const { status, headers } = await (await dialogue(url)).ask(bytes);
  return { status, connection: headers.get("connection"), keepAlive: headers.get("keep-alive") };
}

describe("is announced", () => {
  const cases: Record<string, [env: Record<string, string>, status: number, bytes: string]> = {
    "to a valid API key": [{}, 200, notify(`X-API-Key: ${apiKey}\r\n`)],
    "to a valid API key, for /connections": [{}, 200, request("GET /connections", `X-API-Key: ${apiKey}\r\n`)],
    "to a valid WS token": [{}, 200, request("GET /authorize", `Authorization: Bearer ${wsToken}\r\n`)],
    "to the metrics token": [
      { AMPER_METRICS_TOKEN: metricsToken },
      200,
      request("GET /metrics", `Authorization: Bearer ${metricsToken}\r\n`),
    ],
    "to a declared proxy": [{ AMPER_TRUST_PROXY_HOPS: "1" }, 200, request("GET /health/live", proxied)],
    "to a declared proxy, with a handshake": [{ AMPER_TRUST_PROXY_HOPS: "2" }, 200, request(`GET ${engine}`, proxied)],
    "to a declared proxy, with a refusal": [{ AMPER_TRUST_PROXY_HOPS: "1" }, 401, notify(proxied)],
    "to a declared proxy, for a path that leads nowhere": [
      { AMPER_TRUST_PROXY_HOPS: "1" },
      404,
      request("GET /nowhere", proxied),
    ],
  };
  for (const [name, [env, status, bytes]] of Object.entries(cases)) {
    test(name, async () => {
      expect(await askedOnce(env, bytes)).toEqual({ status, connection: "keep-alive", keepAlive: "timeout=75" });
    });
  }

  test("as keep_alive_seconds says", async () => {
    const answer = await askedOnce({ AMPER_KEEP_ALIVE_SECONDS: "120" }, notify(`X-API-Key: ${apiKey}\r\n`));
    expect(answer.keepAlive).toBe("timeout=120");
  });
});

describe("is not announced", () => {
  const cases: Record<string, [env: Record<string, string>, status: number, bytes: string]> = {
    "to strangers": [{}, 200, request("GET /health/live")],
    "to strangers, with a handshake": [{}, 200, request(`GET ${engine}`)],
    "to a wrong API key": [{}, 401, notify("X-API-Key: wrong\r\n")],
    "to whoever asks which methods there are": [{}, 204, request("OPTIONS /notify", `X-API-Key: ${apiKey}\r\n`)],
    "where metrics are open to everybody": [{ AMPER_METRICS_OPEN: "true" }, 200, request("GET /metrics")],
    "to proxies that are not declared": [{}, 200, request("GET /health/live", proxied)],
    "to strangers that go around the proxy": [{ AMPER_TRUST_PROXY_HOPS: "1" }, 200, request("GET /health/live")],
  };
  for (const [name, [env, status, bytes]] of Object.entries(cases)) {
    test(name, async () => {
      expect(await askedOnce(env, bytes)).toEqual({ status, connection: undefined, keepAlive: undefined });
    });
  }

  test("where the connection ends", async () => {
    const answer = await askedOnce({}, notify(`X-API-Key: ${apiKey}\r\nConnection: close\r\n`));
    expect(answer).toEqual({ status: 200, connection: "close", keepAlive: undefined });
  });
});

test("connections of strangers end while those of proxies and backends are kept", async () => {
  const { url } = await start({ AMPER_TRUST_PROXY_HOPS: "1" });
  const live = request("GET /health/live");
  const opened = async (first: string, next = ""): Promise<Dialogue> => {
    const connection = await dialogue(url);
    expect((await connection.ask(first)).status).toBe(200);
    connection.write(next);
    return connection;
  };
  // First those that are to outlive the others.
  const kept = [
    await opened(notify(`X-API-Key: ${apiKey}\r\n`)),
    await opened(request("GET /health/live", proxied)),
    await opened(request(`GET ${engine}`, proxied)),
  ];
  const strangers = [
    await opened(live),
    await opened(request(`GET ${engine}`)),
    // The rest of a head, and of a body that a proxy passes as it comes, never follows.
    await opened(live, "GET /health/live HTTP/1.1\r\nHost: 127"),
    await opened(
      request("GET /health/live", proxied),
      request("POST /notify", `${proxied}Content-Length: 100\r\n`, "the beginning"),
    ),
  ];
  await Promise.all(strangers.map(({ ended }) => ended()));
  for (const { ask } of kept) expect((await ask(live)).status).toBe(200);
});
