import { describe, expect, test } from "bun:test";
// First, so that its hook ends what is open before the one that stops the service.
import {
  engineUrl,
  frame,
  metric,
  noSessions,
  parseOpen,
  raws,
  rawPolling,
  rawWebSocket,
  talk,
  until,
  upgradeHeaders,
  type Opened,
} from "./support/raw.ts";
import { authorize, notify } from "./support/client.ts";
import { rawFrames } from "./support/frames.ts";
import { expectProblem } from "./support/problem.ts";
import { start } from "./support/service.ts";

/** The connection level of Engine.IO protocol revision 4, spoken by hand. */

const interval_ms = 300;
const timeout_ms = 200;
/** Heartbeats soon, and all the time to answer them. */
const beating = { AMPER_PING_INTERVAL_MS: `${interval_ms}` };
const quick = { ...beating, AMPER_PING_TIMEOUT_MS: `${timeout_ms}` };
/** Timers may fire a moment early by another clock. */
const early_ms = 20;
const limits = { pingInterval: interval_ms, pingTimeout: timeout_ms, maxPayload: 1_000_000 };

/** A polling session whose websocket has been probed, with the noop taken that ends its poll. */
async function probed(url: string) {
  const polling = await rawPolling(url);
  const waiting = polling.poll();
  const ws = await rawWebSocket(engineUrl(url, "websocket", polling.sid));
  await ws.send("2probe");
  expect(await ws.next()).toBe("3probe");
  expect(await (await waiting).text()).toBe("6");
  return { polling, ws };
}

async function upgraded(url: string) {
  const { polling, ws } = await probed(url);
  await ws.send("5");
  // The engine answers nothing; that it has moved is seen by HTTP being refused.
  await until("the session has moved", async () => (await polling.post("3")).status === 400);
  return { polling, ws };
}

const connectPacket = async (url: string): Promise<string> =>
  `40${JSON.stringify({ token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" })}`;

describe("the handshake", () => {
  const wrong: [why: string, query: string][] = [
    ["no EIO", "transport=polling"],
    ["an EIO that is no number", "EIO=abc&transport=polling"],
    ["EIO=3", "EIO=3&transport=polling"],
    ["EIO=5", "EIO=5&transport=polling"],
    ["no transport", "EIO=4"],
    ["an unknown transport", "EIO=4&transport=abc"],
    ["an unknown sid", "EIO=4&transport=polling&sid=zzzzzzzzzzzzzzzzzzzz"],
    ["the transport that it is not", "EIO=4&transport=websocket"],
  ];

  test("by polling opens a session: sid, upgrades and the limits, nothing else", async () => {
    const { url } = await start(quick);
    const response = await fetch(engineUrl(url, "polling"));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=UTF-8");
    const { sid, ...rest } = parseOpen(await response.text());
    expect(sid).toMatch(/^[\w-]{20,}$/);
    expect(rest).toEqual({ upgrades: ["websocket"], ...limits });
    expect(await metric(url, "amper_sessions")).toBe(1);
  });

  test("by websocket opens a session that has nothing to upgrade to", async () => {
    const { url } = await start(quick);
    const ws = await rawWebSocket(engineUrl(url, "websocket"));
    const { sid, ...rest } = parseOpen(await ws.next());
    expect(sid).toMatch(/^[\w-]{20,}$/);
    expect(rest).toEqual({ upgrades: [], ...limits });
    expect(await metric(url, "amper_sessions")).toBe(1);
  });

  test("gives every session an sid of its own", async () => {
    const { url } = await start();
    const opened: Opened[] = [];
    for (let i = 0; i < 20; i++) opened.push((await rawPolling(url)).opened);
    expect(new Set(opened.map(({ sid }) => sid)).size).toBe(20);
  });

  for (const [why, query] of wrong) {
    test(`with ${why} is a 400 problem and opens nothing, by polling`, async () => {
      const { url } = await start();
      await expectProblem(await fetch(`${url}/socket.io/?${query}`), "invalid_request");
      expect(await metric(url, "amper_sessions")).toBe(0);
    });

    const other = query.includes("transport=websocket")
      ? query.replace("websocket", "polling")
      : query.replace("polling", "websocket");
    test(`with ${why} is a 400 problem and opens nothing, by websocket`, async () => {
      const { url } = await start();
      const address = `${url}/socket.io/?${other}`;
      await expectProblem(await fetch(address, { headers: upgradeHeaders }), "invalid_request");
      await expect(rawWebSocket(address)).rejects.toThrow("refused");
      expect(await metric(url, "amper_sessions")).toBe(0);
    });
  }

  test("by any method but GET is a 400 problem and opens nothing", async () => {
    const { url } = await start();
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      await expectProblem(await fetch(engineUrl(url, "polling"), { method }), "invalid_request");
    }
    const head = await fetch(engineUrl(url, "polling"), { method: "HEAD" });
    expect([head.status, head.headers.get("content-type")]).toEqual([400, "application/problem+json"]);
    expect(await metric(url, "amper_sessions")).toBe(0);
  });

  test("by websocket without a key is a 400 problem, with another version Bun's 426; both open nothing", async () => {
    const { url } = await start();
    const ask = async (headers: string) => {
      const request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n";
      const [answer] = (await talk(url, `${request}Connection: Upgrade\r\n${headers}\r\n`)).answers;
      return [answer?.status, answer?.headers.get("content-type")];
    };
    expect(await ask("")).toEqual([400, "application/problem+json"]);
    const key = `Sec-WebSocket-Key: ${upgradeHeaders["Sec-WebSocket-Key"]}\r\n`;
    expect(await ask(`Sec-WebSocket-Version: 8\r\n${key}`)).toEqual([426, undefined]);
    expect(await metric(url, "amper_sessions")).toBe(0);
  });

  test("over max_connections is refused for now, on both transports", async () => {
    const { url } = await start({ AMPER_MAX_CONNECTIONS: "1" });
    await rawPolling(url);
    await expectProblem(await fetch(engineUrl(url, "polling")), "overloaded");
    await expectProblem(await fetch(engineUrl(url, "websocket"), { headers: upgradeHeaders }), "overloaded");
    expect(await metric(url, "amper_sessions")).toBe(1);
  });

  test("with an empty sid is one, and counts against max_connections like any other", async () => {
    const { url } = await start({ AMPER_MAX_CONNECTIONS: "1" });
    await rawPolling(url);
    const statuses = [
      (await fetch(`${engineUrl(url, "polling")}&sid=`)).status,
      (await fetch(`${engineUrl(url, "polling")}&sid`)).status,
      (await fetch(`${engineUrl(url, "websocket")}&sid=`, { headers: upgradeHeaders })).status,
    ];
    expect(statuses.filter((status) => status < 400)).toEqual([]);
    expect(await metric(url, "amper_sessions")).toBe(1);
  });
});

describe("the heartbeat", () => {
  for (const [name, opened] of Object.entries(raws)) {
    test(`comes every pingInterval, and its answer keeps the session, ${name}`, async () => {
      const { url } = await start(beating);
      let before_ms = performance.now();
      const raw = await opened(url);
      for (let round = 1; round <= 3; round++) {
        expect(await raw.next()).toBe("2");
        expect(performance.now() - before_ms).toBeGreaterThan(interval_ms - early_ms);
        before_ms = performance.now();
        await raw.send("3");
      }
      expect(await metric(url, "amper_sessions")).toBe(1);
    });

    test(`that is not answered within pingTimeout ends the session, ${name}`, async () => {
      const { url } = await start(quick);
      const before_ms = performance.now();
      const raw = await opened(url);
      expect(await raw.next()).toBe("2");
      expect(await raw.ended()).toEqual([]);
      expect(performance.now() - before_ms).toBeGreaterThan(interval_ms + timeout_ms - early_ms);
      await noSessions(url);
      await expectProblem(await fetch(engineUrl(url, "polling", raw.sid)), "invalid_request");
    });
  }

  test("that nobody polls for ends the session too", async () => {
    const { url } = await start(quick);
    const polling = await rawPolling(url);
    await noSessions(url);
    await expectProblem(await polling.poll(), "invalid_request");
    await expectProblem(await polling.post("3"), "invalid_request");
  });
});

describe("an end", () => {
  test("by the client on polling: the poll that waits is answered with a noop, the next is refused", async () => {
    const { url } = await start();
    const polling = await rawPolling(url);
    const waiting = polling.poll();
    // Both come on connections of their own: the poll has to be there first.
    await until("the poll waits", async () => (await metric(url, "amper_sessions")) === 1);
    const closed = await polling.post("1");
    expect([closed.status, await closed.text()]).toEqual([200, "ok"]);
    expect(await (await waiting).text()).toBe("6");
    await expectProblem(await polling.poll(), "invalid_request");
    await noSessions(url);
  });

  test("by the client on a websocket: it is closed", async () => {
    const { url } = await start();
    const ws = await raws.websocket(url);
    await ws.send("1");
    expect(await ws.ended()).toEqual([]);
    await noSessions(url);
  });

  test("by a page that goes away while it polls: its session goes with it", async () => {
    const { url } = await start();
    const { poll } = await rawPolling(url);
    const page = new AbortController();
    const waiting = poll(page.signal);
    await metric(url, "amper_sessions");
    page.abort();
    await expect(waiting).rejects.toThrow();
    await noSessions(url);
  });

  test("by a second poll while one waits: it is refused, and the session is over", async () => {
    const { url } = await start();
    const polling = await rawPolling(url);
    const [first, second] = await Promise.all([polling.poll(), polling.poll()]);
    const [answered, refused] = first.status === 200 ? [first, second] : [second, first];
    expect([answered.status, await answered.text()]).toEqual([200, "1"]);
    await expectProblem(refused, "invalid_request");
    await expectProblem(await polling.poll(), "invalid_request");
    await noSessions(url);
  });

  for (const [name, opened] of Object.entries(raws)) {
    // A ping, an upgrade and an open packet are not the client's to send outside of an upgrade.
    for (const packet of ["abc", "7", "-1", "2", "2probe", "5", "6", "0{}"]) {
      test(`by the packet ${packet}, ${name}`, async () => {
        const { url } = await start();
        const raw = await opened(url);
        await raw.send(packet);
        expect(await raw.ended()).toEqual([]);
        await noSessions(url);
      });
    }

    test(`by an empty packet, ${name}`, async () => {
      const { url } = await start();
      const raw = await opened(url);
      await raw.send("");
      expect(await raw.ended()).toEqual([]);
    });

    test(`in the middle of a burst: what follows the invalid packet is not looked at, ${name}`, async () => {
      const { url } = await start();
      const raw = await opened(url);
      await raw.send("abc", await connectPacket(url));
      expect(await raw.ended()).toEqual([]);
      await noSessions(url);
    });
  }
});

describe("a polling session", () => {
  test("takes several packets in one body, in their order", async () => {
    const { url } = await start();
    const polling = await rawPolling(url);
    const answer = await polling.post(`3\u001e40/other,\u001e${await connectPacket(url)}\u001e3`);
    expect([answer.status, await answer.text()]).toEqual([200, "ok"]);
    expect(await polling.next()).toBe('44/other,{"message":"Invalid namespace"}');
    expect(await polling.next()).toStartWith("40{");
  });

  test("takes no method but GET and POST, and lives on", async () => {
    const { url } = await start();
    const polling = await rawPolling(url);
    for (const method of ["PUT", "PATCH", "DELETE"]) {
      await expectProblem(await fetch(engineUrl(url, "polling", polling.sid), { method }), "invalid_request");
    }
    await polling.send(await connectPacket(url));
    expect(await polling.next()).toStartWith("40{");
  });

  test("takes a body of maxPayload if it may, and refuses a larger one with 413, declared or chunked", async () => {
    const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "8 MiB" });
    const { post } = await rawPolling(url);
    expect((await post(`40/${"x".repeat(limits.maxPayload - 3)}`)).status).toBe(200);
    await expectProblem(await post(`40/${"x".repeat(limits.maxPayload - 2)}`), "too_large");
    const { post: again } = await rawPolling(url);
    const part = new TextEncoder().encode("4".repeat(100_001));
    const parts = Array.from({ length: 10 }, () => part);
    const chunked = new ReadableStream({
      pull: (controller) => {
        const next = parts.pop();
        if (next === undefined) controller.close();
        else controller.enqueue(next);
      },
    });
    await expectProblem(await again(chunked), "too_large");
  });

  test("whose body is cut in the middle is no bug of ours, and is not logged as one", async () => {
    const crashes: unknown[] = [];
    const log = {
      error() {},
      warn() {},
      info() {},
      debug() {},
      crash: (e: unknown) => crashes.push(e),
      flush: async () => {},
    };
    const { url } = await start({}, { log });
    const { sid } = await rawPolling(url);
    const request = `POST ${engineUrl("", "polling", sid)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n40`;
    await talk(url, request, { cut: true });
    // Whether or not the engine ends the session for it: the request has been dealt with once it is counted.
    await until("the request is over", async () =>
      /requests_total\{route="\/socket\.io\/",status="[45]/.test(await (await fetch(`${url}/metrics`)).text()),
    );
    expect(crashes).toEqual([]);
  });
});

/** A packet of an event, which has so many bytes. */
const sized = (bytes: number) => `42["${"x".repeat(bytes - 6)}"]`;
const dropped = (url: string) => metric(url, "amper_client_events_dropped_total");
const closedFor = (url: string, limit: string) => metric(url, `amper_limited_total{limit="max_client_${limit}"}`);

test("a websocket message of maxPayload is taken if it may be sent, a longer one ends the session", async () => {
  const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "8 MiB" });
  const ws = await raws.websocket(url);
  await ws.send(await connectPacket(url));
  expect(await ws.next()).toStartWith("40{");
  await ws.send(sized(limits.maxPayload));
  await until("it is taken", async () => (await dropped(url)) === 1);
  await ws.send(sized(limits.maxPayload + 1));
  expect(await ws.ended()).toEqual([]);
  expect(await closedFor(url, "bytes")).toBe(1);
  expect(await dropped(url)).toBe(1);
  await noSessions(url);
});

describe("a client that talks", () => {
  for (const [name, opened] of Object.entries(raws)) {
    test(`is closed after max_client_messages, ${name}`, async () => {
      const { url } = await start({ AMPER_MAX_CLIENT_MESSAGES: "10" });
      const raw = await opened(url);
      await raw.send(await connectPacket(url));
      expect(await raw.next()).toStartWith("40{");
      for (let i = 0; i < 9; i++) await raw.send(sized(10));
      await until("they are taken", async () => (await dropped(url)) === 9);
      expect(await metric(url, "amper_sessions")).toBe(1);
      await raw.send("3");
      expect(await raw.ended()).toEqual([]);
      expect(await closedFor(url, "messages")).toBe(1);
      await noSessions(url);
    });

    test(`is closed after max_client_bytes, and not after as many characters, ${name}`, async () => {
      const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "2000" });
      const raw = await opened(url);
      const connect = await connectPacket(url);
      await raw.send(connect);
      expect(await raw.next()).toStartWith("40{");
      await raw.send(sized(2000 - connect.length - 300));
      // 300 bytes in 104 characters.
      await raw.send(`42["${"€".repeat(98)}"]`);
      await until("they are taken", async () => (await dropped(url)) === 2);
      expect(await metric(url, "amper_sessions")).toBe(1);
      await raw.send("3");
      expect(await raw.ended()).toEqual([]);
      expect(await closedFor(url, "bytes")).toBe(1);
      await noSessions(url);
    });

    test(`is closed for bytes that are binary, too, ${name}`, async () => {
      const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "2000" });
      const raw = await opened(url);
      await raw.send(await connectPacket(url));
      expect(await raw.next()).toStartWith("40{");
      await raw.send(sized(800));
      await raw.send(new Uint8Array(1000));
      expect(await raw.ended()).toEqual([]);
      expect(await closedFor(url, "bytes")).toBe(1);
    });

    test(`may go on after the next heartbeat, even if the clock is set back, ${name}`, async () => {
      let ahead_ms = 0;
      const { url } = await start({ AMPER_MAX_CLIENT_MESSAGES: "10" }, { now: () => Date.now() + ahead_ms });
      const raw = await opened(url);
      await raw.send(await connectPacket(url));
      expect(await raw.next()).toStartWith("40{");
      for (const [round, ahead] of [0, 25_001, -25_001].entries()) {
        ahead_ms = ahead;
        for (let i = 0; i < 8; i++) await raw.send(sized(10));
        await until("they are taken", async () => (await dropped(url)) === 8 * (round + 1));
      }
      expect(await metric(url, "amper_sessions")).toBe(1);
    });
  }

  test("may post a body of max_client_bytes, and a larger one ends its session, declared or chunked", async () => {
    const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "2000" });
    const { post } = await rawPolling(url);
    expect((await post(`40/${"x".repeat(1997)}`)).status).toBe(200);
    const { detail } = await expectProblem(await post(`40/${"x".repeat(1998)}`), "too_large");
    expect(detail).toBe("The body may have 2000 bytes (max_client_bytes).");
    await noSessions(url);
    const { post: again } = await rawPolling(url);
    const part = new TextEncoder().encode("4".repeat(1001));
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(part);
        controller.enqueue(part);
        controller.close();
      },
    });
    await expectProblem(await again(chunked), "too_large");
    await noSessions(url);
    expect(await closedFor(url, "bytes")).toBe(2);
  });

  test("cannot make us keep a message that it never ends", async () => {
    const { url } = await start({ AMPER_MAX_CLIENT_BYTES: "2000" });
    for (const last of [frame(0, "4".repeat(300), { fin: false }), frame(0, "4", { declared: 2001 })]) {
      const ws = await rawFrames(url);
      ws.send(frame(1, "4".repeat(900), { fin: false }), frame(0, "4".repeat(900), { fin: false }), frame(9, "ping"));
      // It is still open: this much may be kept.
      expect(await ws.next()).toMatchObject({ opcode: 10 });
      ws.send(last);
      expect((await ws.rest()).map(({ code }) => code)).toEqual([1009]);
    }
    await noSessions(url);
  });
});

describe("an upgrade", () => {
  test("answers the probe, ends the poll that waits with a noop, and moves the session", async () => {
    const { url } = await start(beating);
    const { polling, ws } = await upgraded(url);
    expect(await ws.next()).toBe("2");
    await ws.send("3", await connectPacket(url));
    expect(await ws.next()).toStartWith("40{");
    expect(await notify(url, { msg: "moved", channel: "msf" })).toMatchObject({ connections: 1 });
    expect(await ws.next()).toStartWith('42["notification","moved"');
    expect(await metric(url, "amper_sessions")).toBe(1);
    expect(polling.opened.upgrades).toEqual(["websocket"]);
  });

  test("brings along what was written meanwhile, once", async () => {
    const { url } = await start();
    const { polling, ws } = await probed(url);
    await polling.post(await connectPacket(url));
    await until("connected", async () => (await metric(url, "amper_users")) === 1);
    await notify(url, { msg: 1, channel: "msf" });
    await ws.send("5");
    expect(await ws.next()).toStartWith("40{");
    expect(await ws.next()).toStartWith('42["notification",1,');
    await notify(url, { msg: 2, channel: "msf" });
    expect(await ws.next()).toStartWith('42["notification",2,');
  });

  test("leaves nothing to HTTP: polls and bodies with its sid are refused, the websocket lives on", async () => {
    const { url } = await start();
    const { polling, ws } = await upgraded(url);
    await expectProblem(await polling.poll(), "invalid_request");
    await expectProblem(await polling.post("1"), "invalid_request");
    await ws.send(await connectPacket(url));
    expect(await ws.next()).toStartWith("40{");
  });

  test("happens once: a second websocket with the sid is closed, the first lives on", async () => {
    const { url } = await start();
    const { polling, ws } = await upgraded(url);
    const other = await rawWebSocket(engineUrl(url, "websocket", polling.sid));
    expect(await other.ended()).toEqual([]);
    await ws.send(await connectPacket(url));
    expect(await ws.next()).toStartWith("40{");
  });

  test("is not for a session that began as a websocket", async () => {
    const { url } = await start();
    const first = await raws.websocket(url);
    const other = await rawWebSocket(engineUrl(url, "websocket", first.sid));
    expect(await other.ended()).toEqual([]);
    await first.send(await connectPacket(url));
    expect(await first.next()).toStartWith("40{");
  });

  test("is under way once: another websocket is closed, the first may go on", async () => {
    const { url } = await start();
    const { polling, ws } = await probed(url);
    const other = await rawWebSocket(engineUrl(url, "websocket", polling.sid));
    expect(await other.ended()).toEqual([]);
    await ws.send("5", await connectPacket(url));
    expect(await ws.next()).toStartWith("40{");
  });

  for (const packet of ["abc", "2", "2other", "3probe", "40", "6"]) {
    test(`that begins with ${packet} is closed, and the session goes on polling`, async () => {
      const { url } = await start();
      const polling = await rawPolling(url);
      const ws = await rawWebSocket(engineUrl(url, "websocket", polling.sid));
      await ws.send(packet);
      expect(await ws.ended()).toEqual([]);
      await polling.send(await connectPacket(url));
      expect(await polling.next()).toStartWith("40{");
    });
  }

  test("that is given up leaves the session polling", async () => {
    const { url } = await start();
    const { polling, ws } = await probed(url);
    ws.close();
    await polling.send(await connectPacket(url));
    // Until the websocket is gone noops may still come.
    for (let packet = "6"; packet === "6";) {
      packet = await polling.next();
      if (packet !== "6") expect(packet).toStartWith("40{");
    }
  });

  test("of a session that has ended is closed, and brings nothing back", async () => {
    const { url } = await start();
    const { polling, ws } = await probed(url);
    await polling.send("1");
    await ws.send("5");
    expect(await ws.ended()).toEqual([]);
    await noSessions(url);
  });

  test("that is probed twice and given up leaves no timer behind that goes on writing noops", async () => {
    const { url } = await start(beating);
    const { polling, ws } = await probed(url);
    await ws.send("2probe");
    ws.close();
    await ws.ended();
    // Noops of before the close may still come, but not for longer than until the next heartbeat.
    const packets: string[] = [];
    for (let round = 1; round <= 2; round++) {
      let packet = await polling.next();
      for (; packet === "6"; packet = await polling.next()) packets.push(packet);
      expect(packet).toBe("2");
      await polling.send("3");
      if (round === 1) packets.length = 0;
    }
    expect(packets).toEqual([]);
  });

  test("may not be used to talk without end: a flood of probes is cut off", async () => {
    const { url } = await start();
    const { ws } = await probed(url);
    const flood = Array.from({ length: 500 }, () => "2probe");
    await ws.send(...flood);
    await ws.send("2end");
    // The bug answers every one of them, and closes only because of the last.
    const answers = await ws.ended();
    expect(answers.length).toBeLessThan(flood.length);
  });
});
