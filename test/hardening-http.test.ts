import { connect } from "node:net";
import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { connected, notify, post } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, talk } from "./support/raw.ts";
import { apiKey, wsToken } from "./support/service.ts";

/** Requests that are too long, too slow, or bring headers along for the answer, against the executable. */

describe("a request that drips", () => {
  /** Says something, then a byte again and again. Resolves with what came when the server ends the connection. */
  function drip(url: string, start: string, byte: string): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    let text = "";
    const socket = connect(Number(new URL(url).port), "127.0.0.1", () => socket.write(start));
    const dripping = setInterval(() => socket.write(byte), 200);
    socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearInterval(dripping);
      resolve(text);
    });
    return promise;
  }

  // Bun's own deadline for the head of a request is 12 s, and cannot be set.
  test("in its head or its body is cut, and never answered as if it were whole", async () => {
    const { url } = await launch();
    const head = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nHost: x\r\nX-API-Key: ${apiKey}\r\n`;
    const good = await connected(url, "alice", "msf", { transports: ["websocket"] });
    const drips = [
      drip(url, "", ""),
      drip(url, "GET /health/", "a"),
      drip(url, head("GET", "/health/live"), "X: y\r\n"),
      drip(url, `${head("GET", "/health/live")}X: `, "y"),
      drip(url, `${head("POST", "/notify")}Content-Length: 60000\r\n\r\n`, " "),
      drip(url, `${head("POST", "/notify")}Transfer-Encoding: chunked\r\n\r\n`, "1\r\n \r\n"),
      drip(url, `${head("POST", "/notify")}Transfer-Encoding: chunked\r\n\r\n`, "0"),
      drip(url, `${head("POST", "/notify")}Transfer-Encoding: chunked\r\n\r\n1;`, "a"),
    ];
    await notify(url, { msg: "in the meantime", channel: "msf" });
    expect(await good.count(1)).toEqual(["in the meantime"]);
    expect(await Promise.all(drips)).toEqual(drips.map(() => ""));
  });
});

describe("a request that is too long", () => {
  test("in its path and query is 414, whatever it asks for, and just fitting it is served", async () => {
    for (const [most, env] of [
      [8192, {}],
      [1024, { AMPER_MAX_URL_BYTES: "1024" }],
    ] as const) {
      const { url } = await launch({ env });
      const padded = (path: string, length: number) => `${url}${path}?${"x".repeat(length - path.length - 1)}`;
      for (const path of ["/health/live", "/authorize", "/notify", "/socket.io/", "/nowhere", "/metrics"]) {
        await expectProblem(await fetch(padded(path, most + 1)), "uri_too_long");
        await expectProblem(await fetch(padded(path, most + 1), { method: "POST", body: "{}" }), "uri_too_long");
      }
      expect((await fetch(padded("/health/live", most))).status).toBe(200);
      expect(await metric(url, 'amper_refusals_total{code="uri_too_long"}')).toBe(12);
    }
  });

  test("in its head is 431, and the connection is closed", async () => {
    for (const [most, env] of [
      [16_384, {}],
      [4096, { AMPER_MAX_HEADER_BYTES: "4096" }],
    ] as const) {
      const { url } = await launch({ env });
      const ask = (headers: string) => talk(url, `GET /health/live HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
      const statusOf = async (headers: string) => (await ask(headers)).answers.map(({ status }) => status);
      expect(await statusOf(`X: ${"y".repeat(most - 100)}\r\n`)).toEqual([200]);
      expect(await statusOf(`X: ${"y".repeat(most)}\r\n`)).toEqual([431]);
      expect(await statusOf("X: y\r\n".repeat(2000))).toEqual([431]);
      expect((await talk(url, `GET /${"x".repeat(1_000_000)}`, { enough: Infinity })).closed).toBe(true);
    }
  });
});

describe("nothing of a request gets into the head of the answer:", () => {
  const injection = "%0d%0aX-Injected:%201%0d%0a%0d%0aHTTP/1.1%20200%20OK";

  async function headOf(url: string, target: string, headers: readonly string[]): Promise<string> {
    const request = `GET ${target} HTTP/1.1\r\n${headers.join("\r\n")}\r\nConnection: close\r\n\r\n`;
    const { answers, text } = await talk(url, request, { enough: Infinity });
    expect([request, answers.length]).toEqual([request, 1]);
    return text.slice(0, text.indexOf("\r\n\r\n")).toLowerCase();
  }

  test("its headers, X-Request-Id and Origin included, unless they are harmless", async () => {
    const { url } = await launch({ env: { AMPER_CORS_ORIGINS: "https://app.example" } });
    for (const value of [
      "%0d%0aX-Injected: 1",
      '"},{"X-Injected',
      "\x85X-Injected: 1",
      "a\tX-Injected: \xff",
      "X-Injected; a",
    ]) {
      for (const name of ["X-Request-Id", "Origin", "Host", "X-Forwarded-For", "Idempotency-Key", "If-None-Match"]) {
        for (const target of ["/authorize", "/connections", "/nowhere", "/socket.io/?EIO=4&transport=polling"]) {
          const lines = [`${name}: ${value}`, `Authorization: Bearer ${wsToken}`];
          if (name !== "Host") lines.unshift("Host: x");
          expect(await headOf(url, target, lines)).not.toContain("injected");
        }
      }
    }
  });

  test("its address, keycloakID included", async () => {
    const { url } = await launch();
    for (const target of [
      `/authorize?keycloakID=a${injection}`,
      `/connections/a${injection}`,
      `/nowhere${injection}`,
      `/socket.io/?EIO=4&transport=polling&sid=a${injection}`,
      `/socket.io/${injection}`,
      `http://x${injection}/nowhere`,
    ]) {
      const head = await headOf(url, target, ["Host: x", `Authorization: Bearer ${wsToken}`]);
      expect([target, head.startsWith("http/1.1 4"), head.includes("injected")]).toEqual([target, true, false]);
    }
  });

  test("its body and its Idempotency-Key", async () => {
    const { url } = await launch();
    const odd = "a\r\nX-Injected: 1";
    for (const [body, status] of [
      [{ msg: odd, channel: "msf" }, 200],
      [{ msg: 1, channel: odd }, 400],
      [{ msg: 1, keycloak: odd }, 400],
      [{ msg: 1, channel: "msf", [odd]: 1 }, 400],
    ] as const) {
      for (const key of ["a", "%0d%0aX-Injected: 1", '"X-Injected"']) {
        const response = await post(
          url,
          { API_KEY: apiKey, ...body },
          { "Idempotency-Key": `${key} ${JSON.stringify(body)}` },
        );
        expect([body, response.status]).toEqual([body, status]);
        expect([...response.headers].flat().join("\n").toLowerCase()).not.toContain("injected");
      }
    }
  });
});
