import { describe, expect, test } from "bun:test";
import { start, wsToken } from "./support/service.ts";

/** What a page of another origin may send, and who may read the answers. */

const listed = "https://app.example";
const other = "https://evil.example";
const basic = ["authorization", "content-type", "x-request-id"];
const ways = { "any origin": {}, "listed origins": { AMPER_CORS_ORIGINS: `${listed},https://*.example.com` } };

const names = (list: string | null) => (list ?? "").split(",").map((name) => name.trim().toLowerCase());

function ask(url: string, path: string, headers: string, origin = listed): Promise<Response> {
  const method = "OPTIONS";
  return fetch(url + path, {
    method,
    headers: { Origin: origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": headers },
  });
}

const paths = ["/authorize", "/socket.io/?EIO=4&transport=polling", "/socket.io/socket.io.esm.min.js"];

for (const [name, env] of Object.entries(ways)) {
  describe(`with ${name}, a page`, () => {
    test("may send what it asks for: tracing, and headers of its framework", async () => {
      const { url } = await start(env);
      for (const asked of [
        "authorization,traceparent,tracestate",
        "baggage, sentry-trace",
        "ngsw-bypass",
        "X-Requested-With",
        "x-datadog-trace-id,x-b3-traceid,newrelic",
        "x_with_underscore,x.dot,!#$%&'*+-.^_`|~",
      ]) {
        for (const path of paths) {
          const { status, headers } = await ask(url, path, asked);
          expect([path, status]).toEqual([path, 204]);
          expect([path, asked, names(headers.get("access-control-allow-headers"))]).toEqual([
            path,
            asked,
            [...new Set([...basic, ...names(asked)])],
          ]);
        }
      }
    });

    test("may not send what is no header, nor any number of them", async () => {
      const { url } = await start(env);
      for (const [asked, allowed] of [
        ["", []],
        [",,", []],
        ['a b, (c), d:e, f=g, "h", x-good', ["x-good"]],
        ["x-é", []],
        ["x".repeat(129), []],
        ["x".repeat(128), ["x".repeat(128)]],
        ["a,a,A, a", ["a"]],
      ] as const) {
        const { headers } = await ask(url, "/authorize", asked);
        expect([asked, names(headers.get("access-control-allow-headers"))]).toEqual([asked, [...basic, ...allowed]]);
      }
      const many = Array.from({ length: 500 }, (_, i) => `x-${i}`).join(",");
      const { headers } = await ask(url, "/authorize", many);
      expect(names(headers.get("access-control-allow-headers"))).toHaveLength(basic.length + 64);
    });

    test("finds in each preflight what it depends on", async () => {
      const { url } = await start(env);
      for (const path of paths) {
        for (const origin of [listed, other]) {
          const vary = names((await ask(url, path, "traceparent", origin)).headers.get("vary"));
          const byOrigin = name === "listed origins" ? ["origin"] : [];
          expect([path, vary]).toEqual([path, ["access-control-request-headers", ...byOrigin]]);
        }
      }
    });
  });
}

describe("credentials", () => {
  const asking = (origin: string) => ({ headers: { Origin: origin, Authorization: `Bearer ${wsToken}` } });

  async function mayUse(url: string, origin: string): Promise<boolean> {
    const answers = await Promise.all([
      ...paths.map((path) => fetch(url + path, asking(origin))),
      ...paths.map((path) => ask(url, path, "traceparent", origin)),
      // An error.
      fetch(`${url}/authorize`, { headers: { Origin: origin } }),
    ]);
    const found = answers.map(({ headers }) => headers.get("access-control-allow-credentials"));
    expect([origin, new Set(found).size]).toEqual([origin, 1]);
    const readable = answers.map(({ headers }) => headers.get("access-control-allow-origin"));
    // Browsers refuse the two together.
    if (found[0] === "true") expect(readable).toEqual(readable.map(() => origin));
    return found[0] === "true";
  }

  test("are for listed origins, and for no others", async () => {
    const { url } = await start(ways["listed origins"]);
    for (const origin of [listed, "https://b2b.example.com"]) expect(await mayUse(url, origin)).toBe(true);
    for (const origin of [other, "https://example.com", url, "null"]) {
      expect([origin, await mayUse(url, origin)]).toEqual([origin, false]);
    }
  });

  test("are for nobody where all origins are allowed", async () => {
    const { url } = await start();
    for (const origin of [listed, other, url, "null"]) expect(await mayUse(url, origin)).toBe(false);
  });
});

test("with listed origins, every answer to a page says that it depends on the origin", async () => {
  const { url } = await start(ways["listed origins"]);
  const file = `${url}/socket.io/socket.io.min.js`;
  const etag = (await fetch(file)).headers.get("etag") ?? "";
  for (const origin of [listed, other]) {
    for (const [path, init] of [
      ["/authorize", {}],
      ["/authorize", { headers: { Authorization: `Bearer ${wsToken}` } }],
      ["/authorize", { method: "PUT" }],
      ["/socket.io/?EIO=4&transport=polling", {}],
      ["/socket.io/?EIO=4&transport=polling&sid=x", {}],
      ["/socket.io/socket.io.min.js", {}],
      ["/socket.io/socket.io.min.js", { headers: { "If-None-Match": etag } }],
    ] as const) {
      const { headers } = await fetch(url + path, {
        ...init,
        headers: { ...("headers" in init && init.headers), Origin: origin },
      });
      expect([path, names(headers.get("vary")).filter((name) => name === "origin")]).toEqual([path, ["origin"]]);
    }
  }
  // A cache has to have both.
  expect(names((await fetch(file)).headers.get("vary"))).toEqual(["accept-encoding", "origin"]);
});

test("a route that is not for pages allows nothing", async () => {
  for (const env of Object.values(ways)) {
    const { url } = await start(env);
    for (const path of ["/notify", "/connections", "/metrics", "/health/live", "/nowhere"]) {
      const { headers } = await ask(url, path, "traceparent");
      expect([path, [...headers.keys()].filter((header) => header.startsWith("access-control"))]).toEqual([path, []]);
    }
  }
});
