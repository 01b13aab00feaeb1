// First, so that its hook ends what is open before the one that stops the service.
import {
  engineUrl,
  metric,
  noSessions,
  parseOpen,
  rawPolling,
  raws,
  rawWebSocket,
  until,
  type Raw,
} from "./support/raw.ts";
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { authorize, notify } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** The connection level of Socket.IO protocol revision 5, spoken by hand. */

const Accepted = v.object({ sid: v.pipe(v.string(), v.minLength(10)) });
const Refused = v.strictObject({
  message: v.pipe(v.string(), v.minLength(10)),
  data: v.strictObject({ code: v.string() }),
});

async function authOf(url: string, more: object = {}): Promise<object> {
  return { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf", ...more };
}

const packetOf = (auth: object): string => `40${JSON.stringify(auth)}`;

/** Connects, and returns the sid. */
async function connect(raw: Raw, auth: object): Promise<string> {
  await raw.send(packetOf(auth));
  return accepted(await raw.next());
}

function accepted(packet: string): string {
  expect(packet).toStartWith('40{"sid":"');
  return v.parse(Accepted, JSON.parse(packet.slice(2))).sid;
}

function refused(packet: string): string {
  expect(packet).toStartWith("44{");
  return v.parse(Refused, JSON.parse(packet.slice(2))).data.code;
}

async function online(url: string): Promise<number> {
  const response = await fetch(`${url}/connections`, { headers: { "X-API-Key": apiKey } });
  return v.parse(v.object({ connections: v.number() }), await response.json()).connections;
}

/** The next packet is this notification, and nothing came before it. */
async function expectNotified(url: string, msg: string, connections: readonly Raw[]): Promise<void> {
  expect(await notify(url, { msg, channel: "msf" })).toMatchObject({ connections: connections.length });
  for (const raw of connections) expect(await raw.next()).toStartWith(`42["notification","${msg}"`);
}

for (const [name, open] of Object.entries(raws)) {
  describe(`CONNECT, ${name}`, () => {
    test("with a good auth is answered with an sid that is not the engine's", async () => {
      const { url } = await start();
      const raw = await open(url);
      expect(await connect(raw, await authOf(url))).not.toBe(raw.sid);
      await expectNotified(url, "hello", [raw]);
    });

    test("may carry what we do not know, and nonsense where a client says what it had", async () => {
      const { url } = await start();
      for (const more of [
        { other: [1] },
        { pid: {}, offset: [] },
        { pid: "", offset: "" },
        { pid: "x".repeat(3000), offset: "-1" },
        { offset: "no cursor" },
        { pid: null, offset: null },
      ]) {
        await connect(await open(url), await authOf(url, more));
      }
    });

    test("without auth is refused for good: a sentence and a code, nothing else", async () => {
      const { url } = await start();
      for (const packet of ["40", "40{}", '40{"token":null}', "40/,{}"]) {
        const raw = await open(url);
        await raw.send(packet);
        expect([packet, refused(await raw.next())]).toEqual([packet, "token_missing"]);
      }
      expect(await online(url)).toBe(0);
    });

    test("with auth in a prototype's clothes is without auth", async () => {
      const { url } = await start();
      const auth = JSON.stringify(await authOf(url));
      for (const packet of [`40{"__proto__":${auth}}`, `40{"constructor":{"prototype":${auth}}}`]) {
        const raw = await open(url);
        await raw.send(packet);
        expect(refused(await raw.next())).toBe("token_missing");
        const next = await open(url);
        await next.send("40{}");
        expect(refused(await next.next())).toBe("token_missing");
      }
    });

    test("with a wrong token is refused with its own code", async () => {
      const { url } = await start();
      const raw = await open(url);
      await raw.send(packetOf(await authOf(url, { token: wsToken })));
      expect(refused(await raw.next())).toBe("token_invalid");
    });

    test("never looks for a token in the query string", async () => {
      const { url } = await start();
      const auth = await authOf(url);
      const query = new URLSearchParams(Object.entries(auth));
      query.set("auth", JSON.stringify(auth));
      const raw = await open(url, `&${query.toString()}`);
      await raw.send("40");
      expect(refused(await raw.next())).toBe("token_missing");
      expect(await online(url)).toBe(0);
    });

    test("to another namespace is refused, good auth or not, and leaves the main one open", async () => {
      const { url } = await start();
      const raw = await open(url);
      const auth = await authOf(url);
      for (const packet of ["40/random,", `40/random,${JSON.stringify(auth)}`, "40/random"]) {
        await raw.send(packet);
        expect(await raw.next()).toBe('44/random,{"message":"Invalid namespace"}');
      }
      await raw.send("40/__proto__,");
      expect(await raw.next()).toBe('44/__proto__,{"message":"Invalid namespace"}');
      expect(await online(url)).toBe(0);
      await connect(raw, auth);
      await expectNotified(url, "here", [raw]);
    });

    for (const packet of [
      "4",
      "4abc",
      "47",
      "49",
      "40abc",
      "40[]",
      "40null",
      '40"text"',
      '40{"token":',
      "41",
      '42["event"]',
      "43[]",
      "430[]",
      '44{"message":"no"}',
      "45",
      "450-[]",
      "45x-[]",
      "4511-[]",
      "42[]",
      "42{}",
      '42["connect"]',
      '42/other,["event"]',
    ]) {
      test(`that is ${packet} ends the connection unanswered`, async () => {
        const { url } = await start();
        const raw = await open(url);
        await raw.send(packet);
        expect(await raw.ended()).toEqual([]);
        await noSessions(url);
      });
    }

    test("that is binary ends the connection unanswered", async () => {
      const { url } = await start();
      const raw = await open(url);
      await raw.send(new Uint8Array([1, 2, 3]));
      expect(await raw.ended()).toEqual([]);
      await noSessions(url);
    });

    test("that does not come within connect_timeout_ms ends the connection, and no other", async () => {
      const { url } = await start({ AMPER_CONNECT_TIMEOUT_MS: "200" });
      const good = await open(url);
      await connect(good, await authOf(url));
      const opened_ms = performance.now();
      const [silent, lost, stranger] = [await open(url), await open(url), await open(url)];
      await lost.send("40/random,");
      await stranger.send("40");
      expect(await silent.ended()).toEqual([]);
      expect(performance.now() - opened_ms).toBeGreaterThan(180);
      // Neither a wrong namespace nor a refusal is one.
      expect(await lost.ended()).toHaveLength(1);
      expect(await stranger.ended()).toHaveLength(1);
      await until("only the good one is left", async () => (await metric(url, "amper_sessions")) === 1);
      await expectNotified(url, "still here", [good]);
    });
  });

  describe(`a second CONNECT ends the connection, ${name}:`, () => {
    test("sent together with the first", async () => {
      const { url } = await start();
      const raw = await open(url);
      const packet = packetOf(await authOf(url));
      await raw.send(packet, packet);
      expect((await raw.ended()).filter((answer) => !answer.startsWith("40{"))).toEqual([]);
      await noSessions(url);
      expect(await online(url)).toBe(0);
    });

    test("sent together with the first, as another user", async () => {
      const { url } = await start();
      const raw = await open(url);
      await raw.send(packetOf(await authOf(url)), packetOf(await authOf(url, { keycloakID: "bob" })));
      expect((await raw.ended()).length).toBeLessThan(2);
      await noSessions(url);
      expect(await online(url)).toBe(0);
    });

    test("sent after the first has succeeded", async () => {
      const { url } = await start();
      const raw = await open(url);
      const auth = await authOf(url);
      await connect(raw, auth);
      await raw.send(packetOf(auth));
      expect(await raw.ended()).toEqual([]);
      await noSessions(url);
      expect(await online(url)).toBe(0);
    });

    test("sent after the first was refused", async () => {
      const { url } = await start();
      const raw = await open(url);
      await raw.send("40");
      expect(refused(await raw.next())).toBe("token_missing");
      await raw.send(packetOf(await authOf(url)));
      expect(await raw.ended()).toEqual([]);
      await noSessions(url);
      expect(await online(url)).toBe(0);
    });

    test("sent after a DISCONNECT", async () => {
      const { url } = await start();
      const raw = await open(url);
      const auth = await authOf(url);
      await connect(raw, auth);
      await raw.send("41");
      await until("it has left", async () => (await online(url)) === 0);
      await raw.send(packetOf(auth));
      expect(await raw.ended()).toEqual([]);
      await noSessions(url);
    });
  });

  describe(`DISCONNECT, ${name}`, () => {
    test("leaves the namespace; the engine goes on for connect_timeout_ms, and not longer", async () => {
      const connectTimeout_ms = 500;
      const { url } = await start({
        AMPER_PING_INTERVAL_MS: "150",
        AMPER_CONNECT_TIMEOUT_MS: `${connectTimeout_ms}`,
      });
      const raw = await open(url);
      await connect(raw, await authOf(url));
      const left_ms = performance.now();
      await raw.send("41");
      await until("it has left", async () => (await online(url)) === 0);
      expect(await notify(url, { msg: "for nobody", channel: "msf" })).toMatchObject({ connections: 0 });
      // There is much time to answer a heartbeat: what ends the connection is not a missing one.
      const packets = await answerUntilEnd(raw);
      expect(performance.now() - left_ms).toBeGreaterThan(connectTimeout_ms - 20);
      expect(packets.length).toBeGreaterThan(1);
      expect(new Set(packets)).toEqual(new Set(["2"]));
    });
  });

  describe(`a client that talks, ${name}`, () => {
    test("is not heard: events, acks and binary ones are dropped, counted, and disturb nothing", async () => {
      const { url } = await start();
      const [raw, other] = [await open(url), await open(url)];
      await connect(raw, await authOf(url));
      await connect(other, await authOf(url, { keycloakID: "bob" }));
      const bytes = new Uint8Array([0, 1, 254, 255]);
      const said: (string | Uint8Array)[] = [
        '42["event"]',
        '421["asks for an answer",{"a":[]}]',
        '42["notification","forged","cursor"]',
        '42["closing",{"code":"revoked","reconnect":false}]',
        '42["error","not one of ours"]',
        '42["__proto__",{"__proto__":{"polluted":true}}]',
        '42["toString"]',
        "42[1]",
        "430[]",
        '4399999999999999999999["x"]',
        '451-["event",{"_placeholder":true,"num":0}]',
        bytes,
        '452-7["event",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
        bytes,
        bytes,
        '461-0[{"_placeholder":true,"num":0}]',
        bytes,
      ];
      await raw.send(...said);
      await until("all is counted", async () => (await dropped(url)) === said.length);
      await expectNotified(url, "undisturbed", [raw, other]);
      expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
    });

    for (const packets of [
      ['42["disconnect"]'],
      ['42["newListener"]'],
      ["42{}"],
      ["43{}"],
      ["4"],
      ["4x"],
      ["40{}"],
      ['44{"message":"no"}'],
      ["41/other,"],
      ['42/other,["event"]'],
      ['4511-["too many"]'],
      ['451-["never completed",{"_placeholder":true,"num":0}]', '42["text in between"]'],
      ['451-["out of range",{"_placeholder":true,"num":1}]', new Uint8Array([1])],
      ['451-["no number",{"_placeholder":true,"num":"0"}]', new Uint8Array([1])],
      [new Uint8Array([1])],
    ]) {
      test(`against the protocol is cut off: ${packets.map((packet) => packet.toString()).join(" ")}`, async () => {
        const { url } = await start();
        const [raw, other] = [await open(url), await open(url)];
        await connect(raw, await authOf(url));
        await connect(other, await authOf(url));
        await raw.send(...packets);
        expect(await raw.ended()).toEqual([]);
        await until("only the other is left", async () => (await online(url)) === 1);
        await expectNotified(url, "undisturbed", [other]);
      });
    }

    for (const [what, packet] of [
      ["events", '42["event"]'],
      ["answers to no heartbeat", "3"],
      ["CONNECTs to other namespaces", "40/random,"],
    ] as const) {
      test(`too much is cut off: a flood of ${what}`, async () => {
        const { url } = await start();
        const [raw, other] = [await open(url), await open(url)];
        await connect(raw, await authOf(url));
        await connect(other, await authOf(url));
        const flood = Array.from({ length: 1000 }, () => packet);
        await raw.send(...flood);
        // What was answered before the cut may still arrive.
        expect((await raw.ended()).length).toBeLessThan(200);
        await until("only the other is left", async () => (await online(url)) === 1);
        await expectNotified(url, "undisturbed", [other]);
        expect(await dropped(url)).toBeLessThan(200);
      });
    }

    test("may say a hundred packets in a ping interval, its CONNECT included, and not one more", async () => {
      const { url } = await start();
      const raw = await open(url);
      await connect(raw, await authOf(url));
      await raw.send(...Array.from({ length: 99 }, () => '42["event"]'));
      await until("all is counted", async () => (await dropped(url)) === 99);
      await expectNotified(url, "undisturbed", [raw]);
      await raw.send('42["event"]');
      expect(await raw.ended()).toEqual([]);
      await noSessions(url);
    });

    test("may say as much in the next ping interval: otherwise its heartbeats alone would be too much one day", async () => {
      const { url } = await start({ AMPER_PING_INTERVAL_MS: "150" });
      const raw = await open(url);
      await connect(raw, await authOf(url));
      for (let round = 0; round < 4; round++) {
        await raw.send(...Array.from({ length: 45 }, () => '42["event"]'));
        // By the second heartbeat the interval in which these were counted is over.
        for (let beat = 0; beat < 2; beat++) {
          expect(await raw.next()).toBe("2");
          await raw.send("3");
        }
      }
      await expectNotified(url, "undisturbed", [raw]);
    });

    test("too much before its CONNECT is cut off too", async () => {
      const { url } = await start();
      const raw = await open(url);
      const flood = Array.from({ length: 1000 }, () => "40/random,");
      await raw.send(...flood, packetOf(await authOf(url)));
      expect((await raw.ended()).filter((packet) => packet.startsWith("40{"))).toEqual([]);
      await noSessions(url);
    });
  });
}

test("one CONNECT is for the life of a session, and goes with it to the websocket", async () => {
  const { url } = await start();
  const polling = await rawPolling(url);
  await connect(polling, await authOf(url));
  const onWebSockets = () => metric(url, 'amper_connections{transport="websocket"}');
  expect(await onWebSockets()).toBe(0);
  const ws = await rawWebSocket(engineUrl(url, "websocket", polling.sid));
  await ws.send("2probe");
  expect(await ws.next()).toBe("3probe");
  await ws.send("5");
  await until("the connection has moved", async () => (await onWebSockets()) === 1);
  await expectNotified(url, "moved", [{ ...ws, sid: polling.sid }]);
  await ws.send(packetOf(await authOf(url)));
  expect(await ws.ended()).toEqual([]);
  await noSessions(url);
});

test("a token is read from auth alone, not from a header or a cookie of the handshake", async () => {
  const { url } = await start();
  const { token } = await authorize(url, "?keycloakID=alice");
  const headers = { Authorization: `Bearer ${token}`, Cookie: `token=${token}; keycloakID=alice; channel=msf` };
  const { sid } = parseOpen(await (await fetch(engineUrl(url, "polling"), { headers })).text());
  const session = engineUrl(url, "polling", sid);
  await fetch(session, { method: "POST", headers, body: '40{"keycloakID":"alice","channel":"msf"}' });
  expect(refused(await (await fetch(session, { headers })).text())).toBe("token_missing");
});

/** Answers heartbeats for as long as there are any. Returns what came. */
async function answerUntilEnd(raw: Raw): Promise<string[]> {
  const packets: string[] = [];
  try {
    for (;;) {
      const packet = await raw.next();
      // 1 and 6 end a poll that waits.
      if (packet !== "1" && packet !== "6") packets.push(packet);
      await raw.send("3");
    }
  } catch {
    return packets;
  }
}

async function dropped(url: string): Promise<number> {
  return metric(url, "amper_client_events_dropped_total");
}

test("no secret is read from a query string, by HTTP neither", async () => {
  const { url } = await start();
  await expectProblem(await fetch(`${url}/authorize?token=${wsToken}&access_token=${wsToken}`), "token_invalid");
  await expectProblem(await fetch(`${url}/connections?API_KEY=${apiKey}&access_token=${apiKey}`), "api_key_invalid");
  const notifying = `${url}/notify?API_KEY=${apiKey}&access_token=${apiKey}`;
  const body = JSON.stringify({ msg: 1, channel: "msf" });
  await expectProblem(await fetch(notifying, { method: "POST", body }), "api_key_invalid");
});
