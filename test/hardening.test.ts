import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { launch } from "./support/binary.ts";
import { authorize, connected, next, notify, page, post } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { raws, talk } from "./support/raw.ts";
import { apiKey, wsToken } from "./support/service.ts";

/** Contents that would do harm where they are taken for more than text, against the executable. */

describe("prototype pollution", () => {
  /** Names that every object answers to. */
  const inherited = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf"];

  test("by msg: it arrives as it was sent, to the last key and character", async () => {
    const { url } = await launch();
    const ws = await raws.websocket(url);
    const { token } = await authorize(url);
    await ws.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
    expect(await ws.next()).toStartWith("40{");
    for (const msg of [
      '{"__proto__":{"polluted":true}}',
      '{"constructor":{"prototype":{"polluted":true}}}',
      '[{"a":{"__proto__":null,"b":{"__proto__":[1,{"toString":1}]}}}]',
      '{"__proto__":1,"prototype":2,"constructor":3,"":4}',
      '"__proto__"',
    ]) {
      const response = await post(url, `{"API_KEY":"${apiKey}","channel":"msf","msg":${msg}}`);
      expect([msg, response.status]).toEqual([msg, 200]);
      expect(await ws.next()).toStartWith(`42["notification",${msg},"`);
    }
  });

  test("by a member of the body: it is one that is not known", async () => {
    const { url } = await launch();
    for (const name of inherited) {
      for (const value of ['{"msg":1,"channel":"msf"}', `{"prototype":{"API_KEY":"${apiKey}"}}`, '"msf"', "null"]) {
        const response = await post(url, `{"API_KEY":"${apiKey}","channel":"msf","msg":1,"${name}":${value}}`);
        expect([name, response.status]).toEqual([name, 400]);
        await expectProblem(response, "invalid_body");
      }
      // What a body inherits from a member of that name is not in it.
      const body = `{"${name}":{"API_KEY":"${apiKey}","channel":"msf","msg":1}}`;
      expect([name, (await post(url, body)).status]).toEqual([name, 401]);
      const targets = `{"API_KEY":"${apiKey}","msg":1,"${name}":{"channel":"msf"}}`;
      expect([name, (await post(url, targets)).status]).toEqual([name, 400]);
    }
    expect((await post(url, { API_KEY: apiKey, msg: 1, channel: "msf" })).status).toBe(200);
  });

  test("by the names of users and channels: they are names like any other", async () => {
    const { url } = await launch();
    const get = async (path: string): Promise<unknown> =>
      (await fetch(url + path, { headers: { "X-API-Key": apiKey } })).json();
    for (const name of inherited) {
      expect(await notify(url, { msg: 0, keycloak: name, channel: name })).toMatchObject({
        connections: 0,
        offline: [name],
      });
    }
    const pages = await Promise.all(inherited.map((name) => connected(url, name, name)));
    const one = Object.fromEntries(inherited.map((name) => [name, 1]));
    expect(await get("/connections")).toEqual({ connections: inherited.length, channels: one });
    for (const [i, name] of inherited.entries()) {
      expect(await notify(url, { msg: name, keycloak: name, channel: name })).toMatchObject({ connections: 1 });
      expect(await pages[i]?.count(1)).toEqual([name]);
      expect(await get(`/connections/${name}`)).toMatchObject({ keycloakID: name, online: true, connections: 1 });
    }
    expect(await (await fetch(`${url}/metrics`)).text()).toContain(
      'amper_channel_connections{channel="__proto__"} 1\n',
    );
  });

  test("by auth: what it inherits is not in it, and what it brings along is not looked at", async () => {
    const { url } = await launch();
    const { token } = await authorize(url, "?keycloakID=alice");
    const auth = JSON.stringify({ token, keycloakID: "alice", channel: "msf" });
    const raw = async (packet: string): Promise<string> => {
      const ws = await raws.websocket(url);
      await ws.send(packet);
      return ws.next();
    };
    expect(await raw(`40{"__proto__":${auth}}`)).toContain('"code":"token_missing"');
    expect(await raw(`40{"constructor":{"prototype":${auth}}}`)).toContain('"code":"token_missing"');
    expect(
      await raw(`40{"__proto__":{"keycloakID":"bob"},"prototype":1,"constructor":null,${auth.slice(1)}`),
    ).toStartWith("40{");
    expect(await raw("40{}")).toContain('"code":"token_missing"');
  });
});

const Line = v.looseObject({ level: v.picklist(["info", "warn", "debug"]), time: v.string(), event: v.string() });

describe("log injection", () => {
  const forged = '"},{"level":"error","event":"forged';

  /** The events of a log, of which every line has to be one, without a character that a terminal obeys. */
  function eventsOf(lines: readonly string[]): string[] {
    expect(lines.filter((line) => /[\p{Cc}\p{Zl}\p{Zp}]/u.test(line))).toEqual([]);
    return lines.map((line) => v.parse(Line, JSON.parse(line)).event);
  }

  const env = { AMPER_LOG_LEVEL: "debug", AMPER_TRUST_PROXY_HOPS: "1" };
  for (const value of [forged, "\\r\\n{}", "%0a{}", "\x85{}", "\x9b31m", "\xe2\x80\xa8{}", "\t{}\xff", "fe80::1%{}"]) {
    test(`by ${encodeURIComponent(value)} in any header, name or query: a line of the log stays one line of JSON`, async () => {
      const { url, lines, kill, exited } = await launch({ env });
      const names = ["X-Forwarded-For", "X-Request-Id", "Origin", "User-Agent", "Host", "Idempotency-Key"];
      for (const name of names) {
        const head = `POST /notify?${encodeURIComponent(value)} HTTP/1.1\r\n${name === "Host" ? "" : "Host: x\r\n"}`;
        const headers = [`${name}: ${value}`, `X-API-Key: ${value}`, "Content-Length: 0", "Connection: close"];
        await talk(url, `${head}${headers.join("\r\n")}\r\n\r\n`);
      }
      await post(url, { API_KEY: apiKey, msg: value, channel: value, keycloak: value });
      const { socket } = page(url, { token: value, keycloakID: value, channel: value }, { transports: ["websocket"] });
      await next(socket, "connect_error");
      kill("SIGTERM");
      expect(await exited).toBe(0);
      const refused = eventsOf(lines).filter((event) => event.endsWith(" refused"));
      expect(refused).toHaveLength(names.length + 2);
      expect(eventsOf(lines)).not.toContain("forged");
    });
  }

  test("by a user's id, which may be any printable text", async () => {
    const { url, lines, kill, exited } = await launch({ env });
    const { token } = await authorize(url, `?keycloakID=${encodeURIComponent(forged)}`);
    const { socket } = await connected(url, forged, "msf", { token });
    await notify(url, { msg: 1, keycloak: forged });
    const gone = next(socket, "disconnect");
    const user = `${url}/connections/${encodeURIComponent(forged)}`;
    expect((await fetch(user, { method: "DELETE", headers: { "X-API-Key": apiKey } })).status).toBe(200);
    await gone;
    kill("SIGTERM");
    expect(await exited).toBe(0);
    const events = eventsOf(lines);
    expect(events).toEqual(expect.arrayContaining(["authorized", "connected", "connection closing", "user revoked"]));
    expect(events).not.toContain("forged");
  });

  test("of secrets: none of what was sent to be kept is written down, good or bad", async () => {
    const { url, lines, kill, exited } = await launch({ env: { AMPER_LOG_LEVEL: "debug" } });
    const { token } = await authorize(url, "?keycloakID=alice");
    const secrets = [apiKey, wsToken, token, "guessed-secret", "private-message", "query-secret", "cookie-secret"];
    const alice = await connected(url, "alice", "msf", { token });
    await notify(url, { msg: "private-message", keycloak: "alice" });
    await alice.count(1);
    const { socket } = page(url, { token: "guessed-secret", keycloakID: "alice", channel: "msf" });
    await next(socket, "connect_error");
    const headers = { Authorization: "Bearer guessed-secret", "X-API-Key": "guessed-secret", Cookie: "cookie-secret" };
    for (const path of ["/authorize", "/connections", "/metrics", "/nowhere", "/socket.io/", "/notify"]) {
      await fetch(`${url}${path}?token=query-secret`, { headers });
      await fetch(`${url}${path}?token=query-secret`, {
        method: "POST",
        headers,
        body: '{"API_KEY":"guessed-secret"}',
      });
    }
    await post(url, { API_KEY: apiKey, msg: "private-message", chanel: "private-message" });
    await post(url, `{"API_KEY":"${apiKey}","msg":"private-message"`);
    kill("SIGTERM");
    expect(await exited).toBe(0);
    const log = lines.join("\n");
    expect(log).toContain('"event":"request refused"');
    expect(secrets.filter((secret) => log.includes(secret))).toEqual([]);
  });
});
