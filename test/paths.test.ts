import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { connected, notify } from "./support/client.ts";
import { detoursTo } from "./support/detours.ts";
import { flawOfProblem } from "./support/problem.ts";
import { talk } from "./support/raw.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** The path of a request counts as it was sent: a proxy that lets some paths pass reads the same bytes. */

const toml = `[api_keys.backend]\nkey = "${apiKey}"\nadmin = true\n`;

/** Asks for a target as it is, with every right. */
async function ask(url: string, target: string, method = "GET") {
  const credentials = target.includes("uthorize") ? `Authorization: Bearer ${wsToken}` : `X-API-Key: ${apiKey}`;
  const { answers } = await talk(url, `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n${credentials}\r\n\r\n`);
  const [answer] = answers;
  if (answer === undefined) throw new Error(`no answer to ${target}`);
  return answer;
}

const routes = ["notify", "connections", "connections/alice", "authorize", "metrics", "health/live", "socket.io/"];

describe("a path that is a route only once it is resolved", () => {
  test("is 404, whatever the method, on the executable", async () => {
    const { url } = await launch();
    for (const target of routes.flatMap(detoursTo)) {
      // These are exactly the route of a user with such an id.
      if (/^\/connections\/[^/]+$/.test(target)) continue;
      for (const method of ["GET", "POST", "DELETE", "OPTIONS"]) {
        const answer = await ask(url, target, method);
        // The parser refuses what does not even begin with a slash.
        const expected = target.startsWith("\\") ? 400 : 404;
        expect([method, target, answer.status]).toEqual([method, target, expected]);
        expect([target, flawOfProblem(answer)]).toEqual([target, null]);
      }
    }
  });

  test("is not served as a file of the client either", async () => {
    const { url } = await start();
    const file = "socket.io.min.js";
    expect((await ask(url, `/socket.io/${file}`)).status).toBe(200);
    for (const target of [
      `/socket.io/%73${file.slice(1)}`,
      `/socket.io/.\\${file}`,
      `/socket.io/x/..\\${file}`,
      `/socket.io/x\\..\\${file}`,
      `/socket.io//${file}`,
      `/socket.io/${file}/`,
      `/socket.io/${file}%20`,
    ]) {
      expect([target, (await ask(url, target)).status]).toEqual([target, 404]);
    }
  });

  test("opens no session", async () => {
    const { url } = await start();
    for (const path of ["/socket.io/.", "/socket.io/x\\..\\", "/x/../socket.io/", "/socket.io", "/socket%2eio/"]) {
      const { status } = await ask(url, `${path}?EIO=4&transport=polling`);
      expect([path, status]).toEqual([path, 404]);
    }
  });
});

describe("a target that is a route as it stands", () => {
  test("is served with and without a query, and in the absolute form (RFC 9112 3.2.2)", async () => {
    const { url } = await start();
    for (const path of ["/connections", "/connections/alice", "/authorize", "/health/live"]) {
      for (const target of [
        path,
        `${path}?`,
        `${path}?x=/../y`,
        `http://other.example${path}`,
        `HTTP://o:1${path}?x`,
      ]) {
        expect([target, (await ask(url, target)).status]).toEqual([target, 200]);
      }
    }
  });

  test("`*` and other targets without a slash are refused by the parser", async () => {
    const { url } = await start();
    for (const target of ["*", "notify", "localhost:80", "ftp://localhost/notify", "http:/notify"]) {
      for (const method of ["GET", "OPTIONS"]) {
        expect([target, (await ask(url, target, method)).status]).toEqual([target, 400]);
      }
    }
  });
});

describe("the id in /connections/ID", () => {
  const presence = async (url: string, segment: string) => {
    const { status, body } = await ask(url, `/connections/${segment}`);
    // It came as Latin-1.
    const text = Buffer.from(body, "latin1").toString();
    return [segment, status, status === 200 ? JSON.parse(text).keycloakID : ""];
  };

  test("is decoded once, whatever it contains", async () => {
    const { url } = await start();
    for (const id of [
      "a/b",
      "..",
      ".",
      "../notify",
      "f:ldap:DOMAIN\\user",
      "a%2fb",
      "%",
      "a?b#c",
      "a+b",
      "ä😀",
      "a;b=c",
      ":keycloakID",
      "*",
    ]) {
      const upper = encodeURIComponent(id).replaceAll(".", "%2E");
      const lower = upper.replaceAll(/%\w\w/g, (escape) => escape.toLowerCase());
      for (const segment of [upper, lower]) expect(await presence(url, segment)).toEqual([segment, 200, id]);
    }
  });

  test("is not another user's, however it is resolved", async () => {
    const { url } = await start({}, { toml });
    for (const segment of ["x\\..\\alice", ".\\alice", "bob%5c..%5calice", "alice\\", "alice%2f", "%2falice"]) {
      expect(await presence(url, segment)).toEqual([segment, 200, decodeURIComponent(segment)]);
    }
    const { socket } = await connected(url, "alice", "msf");
    for (const segment of ["x\\..\\alice", "%61lice%2f", ".\\alice"]) {
      const { status, body } = await ask(url, `/connections/${segment}`, "DELETE");
      expect([segment, status, JSON.parse(body)]).toEqual([segment, 200, expect.objectContaining({ disconnected: 0 })]);
    }
    expect((await notify(url, { msg: 1, channel: "msf" })).connections).toBe(1);
    expect(socket.connected).toBe(true);
  });

  test("with a bad escape, or without a name, is refused", async () => {
    const { url } = await start();
    for (const segment of ["%", "%zz", "%2", "%ff", "%c3", "%ed%a0%80", "a%", "%EF%BF%BD", "\xff", "%00", "a%20"]) {
      expect(await presence(url, segment)).toEqual([segment, 400, ""]);
    }
    for (const segment of ["", "a/b", "a/"]) expect(await presence(url, segment)).toEqual([segment, 404, ""]);
  });
});
