import { describe, expect, test } from "bun:test";
import { authorize, connected, next, notify, page, transports } from "./support/client.ts";
import { metric, noSessions, raws, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** What clients may send by default: enough for the longest CONNECT and the life after it, and not for more. */

const met = (url: string): Promise<number> => metric(url, 'amper_limited_total{limit="max_client_bytes"}');

/** As long as a token may be, and then some: the longest names, and what pages put into `auth` besides. */
async function longestAuth(url: string): Promise<{ token: string; keycloakID: string; channel: string; more: string }> {
  const keycloakID = "😀".repeat(128);
  const { token } = await authorize(url, `?keycloakID=${encodeURIComponent(keycloakID)}`);
  return { token, keycloakID, channel: "msf", more: "x".repeat(6500 - token.length) };
}

describe("8 KiB between two heartbeats", () => {
  for (const [name, options] of Object.entries(transports)) {
    test(`are enough for a stock client that comes, stays, and comes back, ${name}`, async () => {
      const { url } = await start({ AMPER_PING_INTERVAL_MS: "200" });
      const { token, keycloakID, channel, ...more } = await longestAuth(url);
      const { socket, count } = page(url, { token, keycloakID, channel, ...more }, options);
      await next(socket, "connect");
      for (let i = 1; i <= 3; i++) {
        let beats = 0;
        socket.io.engine.on("heartbeat", () => beats++);
        await notify(url, { msg: i, keycloak: keycloakID });
        await count(i);
        await until("some heartbeats have passed", () => beats >= 2);
        const back = next(socket, "connect");
        socket.io.engine.close();
        await back;
        expect(socket.recovered).toBe(true);
      }
      expect(await met(url)).toBe(0);
    });
  }

  for (const [name, open] of Object.entries(raws)) {
    test(`are all that a client may send before its CONNECT, in one message or in several, ${name}`, async () => {
      const { url } = await start();
      const one = await open(url);
      await one.send(`40${"x".repeat(8200)}`);
      expect(await one.ended()).toEqual([]);
      const many = await open(url);
      for (let i = 0; i < 3; i++) await many.send(`40/other,{"a":"${"x".repeat(2983)}"}`);
      await many.ended();
      await noSessions(url);
      expect(await met(url)).toBe(2);
    });
  }
});

test("a page whose token is far too long is sent away for now, and the operator is told", async () => {
  const lines: object[] = [];
  const log = {
    error() {},
    warn() {},
    info: (event: string, fields?: object) => void lines.push({ event, ...fields }),
    debug() {},
    crash() {},
    flush: () => Promise.resolve(),
  };
  const { url } = await start({}, { log });
  for (const options of [transports["websocket only"], transports["polling only"]]) {
    const { socket } = page(url, { token: "x".repeat(9000), keycloakID: "alice", channel: "msf" }, options);
    await new Promise((resolve) => socket.io.once("close", resolve));
    expect(socket.active).toBe(true);
    socket.disconnect();
  }
  await until(
    "both are logged",
    () => lines.filter((line) => JSON.stringify(line).includes("max_client_bytes")).length > 1,
  );
  expect(JSON.stringify(lines)).toContain("127.0.0.1");
  await connected(url, "alice", "msf");
});

test("a websocket is not compressed, whatever it offers: neither state nor bombs", async () => {
  const { url } = await start();
  const answer = await fetch(`${url}/socket.io/?EIO=4&transport=websocket`, {
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    },
  });
  expect([answer.status, answer.headers.get("sec-websocket-extensions")]).toEqual([101, null]);
});
