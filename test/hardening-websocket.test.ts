import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { rawFrames } from "./support/frames.ts";
import { frame, metric, noSessions, rawPolling, until } from "./support/raw.ts";
import { authorize, connected, notify } from "./support/client.ts";

/** Websocket frames that no client of ours sends, against the executable. Packets inside of good frames: socket-protocol.test.ts. */

const close = (code: number, reason = ""): Uint8Array => {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return frame(8, Buffer.concat([head, Buffer.from(reason, "latin1")]));
};

const parts = (...frames: Uint8Array[]) => Buffer.concat(frames);
const invalid: Record<string, [sent: Uint8Array, code: number]> = {
  "an unmasked frame": [frame(1, '42["x"]', { masked: false }), 1002],
  "an unmasked ping": [frame(9, "", { masked: false }), 1002],
  "the third reserved bit": [frame(1, '42["x"]', { reserved: 1 }), 1002],
  "the second reserved bit": [frame(1, '42["x"]', { reserved: 2 }), 1002],
  "a compressed frame, which nobody has agreed on": [frame(1, Buffer.from([0xaa, 0]), { reserved: 4 }), 1002],
  "a reserved opcode": [frame(3, ""), 1002],
  "a reserved control opcode": [frame(11, ""), 1002],
  "a continuation of nothing": [frame(0, "x"), 1002],
  "a message in the middle of another": [parts(frame(1, "4", { fin: false }), frame(1, "40{}")), 1002],
  "a fragmented ping": [frame(9, "", { fin: false }), 1002],
  "a ping of more than 125 bytes": [frame(9, "x".repeat(126)), 1002],
  "text that is not UTF-8": [frame(1, Buffer.from([0x34, 0xff, 0xfe])), 1007],
  "text that is not UTF-8 once it is whole": [
    parts(frame(1, Buffer.from([0x34, 0xe2]), { fin: false }), frame(0, Buffer.from([0x28, 0xa1]))),
    1007,
  ],
  "half of a surrogate pair in UTF-8": [frame(1, Buffer.from([0x34, 0xed, 0xa0, 0x80])), 1007],
  "a frame that declares too much": [frame(1, "4", { declared: 8193 }), 1009],
  "a frame that declares more than there is": [frame(1, "4", { declared: Number.MAX_SAFE_INTEGER }), 1009],
  "fragments that are too much together": [
    parts(frame(1, "4".repeat(5000), { fin: false }), frame(0, "4".repeat(5000))),
    1009,
  ],
  "a close frame with half a code": [frame(8, Buffer.from([3])), 1002],
  "a close frame with a code that is never sent": [close(1006), 1002],
  "a close frame with a code of nobody": [close(65_535), 1002],
  "a close frame whose reason is not UTF-8": [close(1000, "\xff"), 1007],
  "a request in its place": [Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 1002],
};

test("an invalid frame ends its own connection, with the code of RFC 6455 7.4.1, and disturbs nobody", async () => {
  const { url } = await launch();
  const good = await connected(url, "alice", "msf", { transports: ["websocket"] });
  for (const [name, [sent, code]] of Object.entries(invalid)) {
    const ws = await rawFrames(url);
    ws.send(sent);
    const frames = await ws.rest();
    expect([name, frames.map((answer) => answer.code)]).toEqual([name, [code]]);
  }
  await until("only the good one is left", async () => (await metric(url, "amper_sessions")) === 1);
  await notify(url, { msg: "undisturbed", channel: "msf" });
  expect(await good.count(1)).toEqual(["undisturbed"]);
});

test("a message in fragments, with a ping between them, is one message", async () => {
  const { url } = await launch();
  const ws = await rawFrames(url);
  ws.send(frame(1, "4", { fin: false }), frame(0, "0/ot", { fin: false }), frame(9, "ping"), frame(0, "her,"));
  expect(await ws.next()).toMatchObject({ opcode: 10, payload: Buffer.from("ping") });
  expect(String((await ws.next()).payload)).toBe('44/other,{"message":"Invalid namespace"}');
});

test("a message that never ends does not keep its connection beyond connect_timeout_ms", async () => {
  const { url } = await launch({ env: { AMPER_CONNECT_TIMEOUT_MS: "300" } });
  const endless = [
    [frame(1, "4".repeat(8000), { fin: false })],
    [frame(1, "4", { declared: 8000 })],
    [frame(1, "4", { fin: false }), ...Array.from({ length: 1000 }, () => frame(0, "", { fin: false }))],
    [frame(9, "half a ping", { declared: 125 })],
    [Buffer.from([0x81])],
  ];
  const all = await Promise.all(
    endless.map(async (frames) => {
      const ws = await rawFrames(url);
      ws.send(...frames);
      return ws.rest();
    }),
  );
  // Without a close frame, whose answer would be waited for.
  expect(all).toEqual(endless.map(() => []));
  await noSessions(url);
});

describe("a flood of control frames", () => {
  const many = (n: number, opcode: number): Uint8Array[] => Array.from({ length: n }, () => frame(opcode, "x"));
  /** Not Engine.IO: the connection is ended for it, without a code, unless it was ended before. */
  const invalidPacket = frame(1, "x");
  const codeAfter = async (url: string, ...frames: Uint8Array[]) => {
    const ws = await rawFrames(url);
    ws.send(...frames, invalidPacket);
    return (await ws.rest()).at(-1)?.code;
  };

  test("ends the connection: a hundred pings and pongs pass, one more is too many", async () => {
    const { url } = await launch();
    expect(await codeAfter(url, ...many(100, 9))).toBeUndefined();
    expect(await codeAfter(url, ...many(101, 9))).toBe(1008);
    expect(await codeAfter(url, ...many(50, 9), ...many(50, 10))).toBeUndefined();
    expect(await codeAfter(url, ...many(50, 9), ...many(51, 10))).toBe(1008);
    await noSessions(url);
    expect(await metric(url, 'amper_limited_total{limit="max_client_messages"}')).toBe(2);
    const strict = await launch({ env: { AMPER_MAX_CLIENT_MESSAGES: "10" } });
    expect(await codeAfter(strict.url, ...many(11, 9))).toBe(1008);
  });

  test("of a hundred thousand is not answered beyond that, and disturbs nobody", async () => {
    const { url } = await launch();
    const good = await connected(url, "alice", "msf", { transports: ["websocket"] });
    const ws = await rawFrames(url);
    ws.send(...Array.from({ length: 100_000 }, () => frame(9, "x".repeat(125))));
    const frames = await ws.rest();
    expect(frames.length).toBeLessThan(150);
    await until("only the good one is left", async () => (await metric(url, "amper_sessions")) === 1);
    await notify(url, { msg: "undisturbed", channel: "msf" });
    expect(await good.count(1)).toEqual(["undisturbed"]);
  });

  test("is none if it takes its time: they are counted anew with every heartbeat", async () => {
    const { url } = await launch({ env: { AMPER_PING_INTERVAL_MS: "400", AMPER_PING_TIMEOUT_MS: "700" } });
    const ws = await rawFrames(url);
    for (let round = 0; round < 3; round++) {
      ws.send(...many(60, 10));
      // Three heartbeats take longer than an interval and the time to answer one.
      for (let beat = 0; beat < 3; beat++) {
        expect(String((await ws.next()).payload)).toBe("2");
        ws.send(frame(1, "3"));
      }
    }
  });
});

describe("a half-open upgrade", () => {
  test("of a session is one at most, and no session of its own; another is closed, and the first may go on", async () => {
    const { url } = await launch();
    const { sid } = await rawPolling(url);
    const first = await rawFrames(url, sid);
    for (let i = 0; i < 20; i++) {
      const another = await rawFrames(url, sid);
      expect((await another.rest()).map(({ code }) => code)).toEqual([1000]);
    }
    expect(await metric(url, "amper_sessions")).toBe(1);
    first.send(frame(1, "2probe"));
    expect(String((await first.next()).payload)).toBe("3probe");
  });

  test("ends with its session, whatever has come of a message", async () => {
    const { url } = await launch();
    for (const sent of [[], [frame(1, "4".repeat(8000), { fin: false })], [frame(1, "2probe")]]) {
      const { sid, post } = await rawPolling(url);
      const ws = await rawFrames(url, sid);
      ws.send(...sent);
      await post("1");
      // Cut without a close frame: one that is not answered would keep it for many seconds.
      expect((await ws.rest()).filter(({ opcode }) => opcode === 8)).toEqual([]);
    }
    await noSessions(url);
  });

  test("that is not completed within connect_timeout_ms is given up, and its session goes on polling", async () => {
    const { url } = await launch({ env: { AMPER_CONNECT_TIMEOUT_MS: "300" } });
    const { token } = await authorize(url);
    for (const sent of [[], [frame(1, "2probe")], [frame(1, "2pro", { fin: false })]]) {
      const polling = await rawPolling(url);
      await polling.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
      expect(await polling.next()).toStartWith("40{");
      const ws = await rawFrames(url, polling.sid);
      ws.send(...sent);
      expect((await ws.rest()).at(-1)?.code).toBe(1000);
      await notify(url, { msg: "polled", keycloak: "alice" });
      let packet = await polling.next();
      for (; packet === "6";) packet = await polling.next();
      expect(packet).toStartWith('42["notification","polled"');
      await polling.post("1");
    }
  });
});
