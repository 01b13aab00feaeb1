import { describe, expect, test } from "bun:test";
import { loadSettings } from "../src/settings/load.ts";
import { connected, next, page, transports } from "./support/client.ts";
import { start, wsToken } from "./support/service.ts";

/** Which origins `cors_origins` can list, and whose pages are meant by it. */

const load = (origins: string) => loadSettings({ args: [`--cors-origins=${origins}`], env: {}, readFile: () => "" });

async function isAllowed(url: string, origin: string): Promise<boolean> {
  const headers = { Authorization: `Bearer ${wsToken}`, Origin: origin };
  const { status, headers: answered } = await fetch(`${url}/authorize`, { headers });
  const isReadable = answered.get("access-control-allow-origin") === origin;
  expect([origin, status]).toEqual([origin, isReadable ? 200 : 403]);
  return isReadable;
}

describe("cors_origins lists", () => {
  for (const [listed, allowed, refused] of [
    [
      "https://App.Example.com:443/",
      ["https://app.example.com", "https://app.example.com:443"],
      [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://example.com",
        "https://app.example.com.evil.example",
        "https://app.example.com/",
        "https://App.Example.com",
      ],
    ],
    ["http://localhost:5173", ["http://localhost:5173"], ["http://localhost", "http://127.0.0.1:5173"]],
    ["https://bücher.example", ["https://xn--bcher-kva.example"], ["https://bucher.example"]],
    ["http://[::1]:5173", ["http://[::1]:5173", "http://[0:0:0:0:0:0:0:1]:5173"], ["http://[::2]:5173"]],
    [
      "capacitor://localhost",
      ["capacitor://localhost"],
      ["capacitor://other", "ionic://localhost", "http://localhost"],
    ],
    ["tauri://localhost/", ["tauri://localhost"], ["https://tauri.localhost"]],
    [
      "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
      ["chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
      ["chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba", "moz-extension://abcdefghijklmnopabcdefghijklmnop"],
    ],
    [
      "moz-extension://*",
      ["moz-extension://0c1d2e3f-0000-4a5c-9c1d-2f1c0a9d7f10"],
      ["chrome-extension://abcdefghijklmnopabcdefghijklmnop", "moz-extension://", "https://moz-extension"],
    ],
  ] as const) {
    test(listed, async () => {
      const { url } = await start({ AMPER_CORS_ORIGINS: listed });
      for (const origin of allowed) expect([origin, await isAllowed(url, origin)]).toEqual([origin, true]);
      for (const origin of [...refused, "null", ""]) {
        expect([origin, await isAllowed(url, origin)]).toEqual([origin, false]);
      }
    });
  }

  test("all hosts below a domain, however deep, but not the domain itself", async () => {
    const { url } = await start({ AMPER_CORS_ORIGINS: "https://*.example.com,http://*.localhost:5173" });
    for (const origin of [
      "https://app.example.com",
      "https://a.b.c.example.com",
      "https://app.example.com:443",
      "http://app.localhost:5173",
    ]) {
      expect([origin, await isAllowed(url, origin)]).toEqual([origin, true]);
    }
    for (const origin of [
      "https://example.com",
      "http://app.example.com",
      "https://app.example.com:8443",
      "https://evilexample.com",
      "https://APP.example.com",
      "https://app.example.com.evil.example",
      "https://evil.example/.example.com",
      "https://evil.example#.example.com",
      "https://evil.example?.example.com",
      "https://evil.example\\.example.com",
      "https://evil@app.example.com",
      "https://app.example.com https://evil.example",
      "https://evil.example, https://app.example.com",
      "app://x.example.com",
      "http://app.localhost",
      "http://localhost:5173",
    ]) {
      expect([origin, await isAllowed(url, origin)]).toEqual([origin, false]);
    }
  });

  for (const [name, options] of Object.entries(transports)) {
    test(`applications and wildcards for connections as well, ${name}`, async () => {
      const { url } = await start({ AMPER_CORS_ORIGINS: "capacitor://localhost,https://*.example.com" });
      for (const origin of ["capacitor://localhost", "https://b2b.example.com"]) {
        await connected(url, "alice", "msf", { ...options, extraHeaders: { Origin: origin } });
      }
      for (const origin of ["tauri://localhost", "https://example.com", "https://b2b.example.com:8443"]) {
        const { socket } = page(url, {}, { ...options, extraHeaders: { Origin: origin } });
        await next(socket, "connect_error");
        expect([origin, socket.connected]).toEqual([origin, false]);
      }
    });
  }
});

test("an origin that no browser sends stops the start, and the message says what to write", () => {
  for (const [origin, message] of [
    ["https://app.example.com/path", "must be * or a list of origins such as https://app.example.com, without a path"],
    ["capacitor://localhost/index.html", "without a path"],
    ["https://*.example.com/*", "without a path"],
    ["app.example.com", "must be * or a list of origins such as https://app.example.com"],
    ["localhost:5173", "must be * or a list of origins such as https://app.example.com"],
    ["https://", "must be * or a list of origins such as https://app.example.com"],
    ["https://app.example.com:99999", "must be * or a list of origins such as https://app.example.com"],
    ["https://app.example.com?x", "must be * or a list of origins such as https://app.example.com"],
    ["https://user:word@app.example.com", "must be * or a list of origins such as https://app.example.com"],
    ["htps://app.example.com", ": did you mean https?"],
    ["null", "must not be null: all pages without an origin of their own send that (files, sandboxed frames)"],
    ["file://", "must have another scheme: pages of this one send null"],
    ["wss://app.example.com", "must begin with https:// or http://, as the address of the page does"],
    ["ftp://app.example.com", "must begin with https:// or http://: no browser shows pages of this scheme"],
    ["https://*", "must name a host: https://*.example.com is every host below example.com"],
    ["https://*:8443", "must name a host"],
    ["https://app-*.example.com", "must have its * in front, as the whole first label: https://*.example.com"],
    ["https://app.*.example.com", "must have its * in front"],
    ["https://*.*.example.com", "must have its * in front"],
    ["https://*example.com", "must have its * in front"],
    ["https://app.example.com:*", "must be * or a list of origins such as https://app.example.com"],
    ["app://*.example.com", "must have its * in front"],
  ] as const) {
    const loaded = load(`https://first.example,${origin}`);
    const problems = loaded.ok ? [] : loaded.problems;
    expect([origin, problems]).toEqual([origin, [expect.stringContaining(message)]]);
    expect(problems[0]).toStartWith("--cors-origins entry 2 must ");
    expect(problems[0]).not.toContain("word");
  }
});

test("a wildcard that is a whole top-level domain is warned of", () => {
  expect(load("https://*.com,http://*.localhost:5173,https://*.example.com").warnings).toContain(
    "--cors-origins has https://*.com, which is everybody who has a name there",
  );
  expect(load("http://*.localhost:5173,https://*.example.com,moz-extension://*").warnings.join()).not.toContain("cors");
});
