// First, so that its hook ends what is open before the one that stops the service.
import {
  engineUrl,
  frame,
  handled,
  noSessions,
  rawPolling,
  rawWebSocket,
  talk,
  until,
  upgradeHeaders,
  upgradeRequest,
  type Answer,
} from "./support/raw.ts";
import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import type { Log } from "../src/observe/log.ts";
import { authorize, closePages, connected, notify, transports } from "./support/client.ts";
import { flawOfProblem } from "./support/problem.ts";
import { pick, seeded, type Random } from "./support/random.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/**
 * Storms of what no client of ours would send. Whatever comes: every answer is one of ours or a bare one of Bun's, nothing
 * leaks, nothing private is logged, and who behaves is served as before. SEED repeats a storm.
 */

/** Stands in everything that must never be logged: messages, packets, headers, bodies, queries. */
const secret = "never-to-be-logged";

const settings = {
  // Storms come from one address, with many bad keys.
  AMPER_AUTH_FAILURES_PER_MINUTE: "1000000",
  AMPER_CONNECT_TIMEOUT_MS: "300",
  AMPER_PING_INTERVAL_MS: "400",
  AMPER_PING_TIMEOUT_MS: "600",
  AMPER_MAX_CONNECTIONS_PER_USER: "10000",
  AMPER_MAX_CLIENT_BYTES: "128 KiB",
  AMPER_TRUST_PROXY_HOPS: "1",
  AMPER_METRICS_OPEN: "true",
};

/** What is wrong with an answer, or null. A receipt may tell a user's name, whatever it is. */
function flawOf(answer: Answer, isHead = false): string | null {
  const { status, body } = answer;
  const isTold = status >= 400 && [secret, apiKey, wsToken].some((word) => body.includes(word));
  return isTold ? `tells a secret: ${body}` : flawOfProblem(answer, isHead);
}

async function answerOf(response: Response): Promise<Answer> {
  return { status: response.status, headers: new Map(response.headers), body: await response.text() };
}

/** A service that a storm is let loose on. */
async function target() {
  const lines: string[] = [];
  const crashes: string[] = [];
  const write = (event: string, fields?: object) => void lines.push(JSON.stringify([event, fields]));
  const log: Log = {
    error: write,
    warn: write,
    info: write,
    debug: write,
    crash: (error, fields) => {
      write("internal error", fields);
      crashes.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    },
    flush: async () => {},
  };
  const { url } = await start(settings, { log });
  const { token } = await authorize(url);
  const witness = await connected(url, "witness", "quiet", { transports: ["websocket"] });
  const auth = JSON.stringify({ token, keycloakID: "stormy", channel: "storm" });

  /** What has to hold after a storm, whatever it was. */
  async function expectUnharmed(seed: number): Promise<void> {
    // The one that was there all the time got nothing of it, and gets what is for him.
    await until("the witness is notified", async () => {
      await notify(url, { msg: "after the storm", keycloak: "witness" });
      return witness.received.length > 0;
    });
    expect({ seed, received: [...new Set(witness.received)] }).toEqual({ seed, received: ["after the storm"] });
    for (const options of Object.values(transports)) {
      const { count } = await connected(url, "newcomer", "fair", options);
      await until(
        "the newcomer is there",
        async () => (await notify(url, { msg: 1, channel: "fair" })).connections > 0,
      );
      expect((await count(1))[0]).toBe(1);
      closePages();
    }
    await noSessions(url);
    const left = await (await fetch(`${url}/connections`, { headers: { "X-API-Key": apiKey } })).json();
    expect({ seed, left }).toEqual({ seed, left: { connections: 0, channels: {} } });
    const scraped = await (await fetch(`${url}/metrics`)).text();
    const odd = [...scraped.matchAll(/^amper_http_requests_total\{route="([^"]*)"/gm)]
      .map(([, route = ""]) => route)
      .filter((route) => !knownRoutes.has(route));
    expect({ seed, odd }).toEqual({ seed, odd: [] });
    const told = lines.filter((line) => [secret, apiKey, wsToken, token].some((word) => line.includes(word)));
    expect({ seed, told }).toEqual({ seed, told: [] });
    expect({ seed, crashes }).toEqual({ seed, crashes: [] });
    expect({ seed, inherited: Object.keys(Object.getPrototypeOf({})) }).toEqual({ seed, inherited: [] });
  }

  return { url, token, auth, expectUnharmed };
}

const knownRoutes = new Set([
  "/authorize",
  "/notify",
  "/socket.io/",
  ...["", ".min", ".esm.min"].flatMap((kind) => [
    `/socket.io/socket.io${kind}.js`,
    `/socket.io/socket.io${kind}.js.map`,
  ]),
  "/connections",
  "/connections/:keycloakID",
  "/health/live",
  "/health/ready",
  "/metrics",
  "(other)",
]);

const unhandled: unknown[] = [];
const onUnhandled = (error: unknown): void => void unhandled.push(error);
const consoles = [spyOn(console, "error"), spyOn(console, "warn"), spyOn(console, "log")];

beforeEach(() => {
  unhandled.length = 0;
  for (const spy of consoles) spy.mockClear();
  process.on("unhandledRejection", onUnhandled);
  process.on("uncaughtException", onUnhandled);
});
afterEach(() => {
  process.off("unhandledRejection", onUnhandled);
  process.off("uncaughtException", onUnhandled);
  expect(unhandled).toEqual([]);
  // Libraries that complain about a stranger's bytes would do it here, past the log and its budget.
  for (const spy of consoles) expect(spy).not.toHaveBeenCalled();
});

/** Runs so many at a time. */
async function storm<T>(items: readonly T[], width: number, act: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await act(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

function times<T>(n: number, make: (i: number) => T): T[] {
  return Array.from({ length: n }, (_, i) => make(i));
}

/** Changes a few characters: drops, doubles, swaps in others. */
function mutate(random: Random, text: string): string {
  let result = text;
  for (let i = Math.ceil(random() * 3); i > 0; i--) {
    const at = Math.floor(random() * result.length);
    const insert = pick(random, ["", '"', "{", "}", "[", "\\", ",", ":", "\0", "\u001e", "é", "\r\n", "9", " ", "%"]);
    result = result.slice(0, at) + insert + result.slice(at + Math.floor(random() * 3));
  }
  return result;
}

const oddTexts = [
  "",
  "null",
  "true",
  "-1",
  "1e999",
  "123456789012345678901234567890",
  '"storm"',
  '["storm","storm"]',
  '["storm",null]',
  "[]",
  "{}",
  '"__proto__"',
  '"\\ud800"',
  '"\\u0000"',
  '" "',
  '"a b"',
  `"${"x".repeat(200)}"`,
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  `{"toString":"${secret}"}`,
  `"${secret}"`,
  `${"[".repeat(70)}${"]".repeat(70)}`,
  "[".repeat(5000),
  `${'{"a":'.repeat(5000)}1${"}".repeat(5000)}`,
  `[${times(1200, (i) => `"c${i}"`).join()}]`,
];

const oddNames = oddTexts.filter((text) => !text.includes(secret));

function notifyBody(random: Random): string {
  const fields = ["msg", "keycloak", "channel", "API_KEY", "ttl", "__proto__", "constructor", "toString", "", "chanel"];
  const members = times(Math.ceil(random() * 4), () => {
    const field = pick(random, fields);
    // Whom a notification is for is logged.
    const isName = field === "keycloak" || field === "channel";
    return `"${field}":${pick(random, isName ? oddNames : oddTexts)}`;
  });
  if (random() < 0.7) members.push(`"API_KEY":"${apiKey}"`);
  if (random() < 0.5) members.push(`"msg":"${secret}"`);
  if (random() < 0.5) members.push('"channel":"storm"');
  const text = random() < 0.1 ? pick(random, oddTexts) : `{${members.join()}}`;
  return random() < 0.4 ? mutate(random, text) : text;
}

test("bodies that are no notification harm nobody", async () => {
  const { seed, random } = seeded();
  const { url, expectUnharmed } = await target();
  const statuses = new Set<number>();
  const bodies = times(2500, (i) => {
    const text = notifyBody(random);
    const bytes = Buffer.from(text, random() < 0.1 ? "latin1" : "utf8");
    return { i, bytes: random() < 0.1 ? bytes.subarray(0, Math.floor(random() * bytes.length)) : bytes };
  });
  const types = ["application/json", "application/json", "application/json; charset=utf-16", "text/plain", "a/b;", ";"];
  await storm(bodies, 32, async ({ i, bytes }) => {
    const response = await fetch(`${url}/notify?${secret}`, {
      method: "POST",
      headers: { "Content-Type": types[i % types.length] ?? "", Cookie: secret },
      body: bytes,
    });
    const answer = await answerOf(response);
    statuses.add(answer.status);
    expect({ seed, i, sent: bytes.toString(), flaw: flawOf(answer) }).toEqual({
      seed,
      i,
      sent: bytes.toString(),
      flaw: null,
    });
  });
  // The storm has been everywhere, or it proves little.
  expect([...statuses]).toEqual(expect.arrayContaining([200, 400, 401, 415]));
  await expectUnharmed(seed);
});

const oddTargets = [
  "/",
  "/notify",
  "/notify/",
  "/authorize",
  "/authorize?keycloakID=a&keycloakID=b",
  "/authorize?keycloakID=%ff%00",
  "/health/live",
  "/health/live?x=%zz",
  "/health/../notify",
  "/health/%2e%2e/notify",
  "/connections",
  "/connections/",
  "/connections/%",
  "/connections/%ff",
  "/connections/%00",
  "/connections/*",
  "/connections/stormy",
  "/connections/..%2f..%2fnotify",
  "/socket.io",
  "/socket.io/*",
  "/socket.io/socket.io.js.map/",
  "/socket.io/..%2fpackage.json",
  "/socket.io/?EIO=4&transport=polling",
  "/socket.io/?EIO=4&transport=websocket",
  "/socket.io/?EIO=4&transport=polling&sid=__proto__",
  "/socket.io/?EIO=4&transport=polling&sid=x&sid=y",
  "/socket.io/?EIO=4&EIO=3&transport=polling&transport=websocket",
  "/socket.io/?EIO=4&transport=%70olling&sid=constructor",
  "/socket.io/?%ff=%ff&EIO=%34&transport=polling",
  "/*",
  "//",
  "//evil.example/notify",
  "///",
  "/\\evil.example",
  "/%00",
  "/\xff\xfe",
  "http://evil.example/notify",
  "http://evil.example:99999/notify",
  "http://user:pass@evil.example/authorize",
  "http://[/health/live",
  "https://evil.example",
  `/${"x".repeat(3000)}`,
  `/notify?${"x=1&".repeat(2000)}`,
  "/__proto__",
  "/constructor",
  `/health/live?${secret}`,
];

/** Not even Bun reads these. */
const brokenTargets = ["*", "/ notify", "notify", "", "file:///etc/passwd", `/${"x".repeat(40_000)}`];

const oddMethods = ["GET", "GET", "POST", "POST", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "CONNECT"];
const noMethods = ["PROPFIND", "get", "", "G\0T", "GET\t", "X".repeat(200)];

const oddHeaders = [
  "Host: x",
  "Host: evil.example",
  "Host: a b",
  "Host: [::",
  "Host: x:99999",
  "Host: x:y",
  "Host: user@x",
  "Host: x/../y",
  "Host: %00",
  "Content-Type: application/json",
  "Content-Encoding: gzip",
  `Authorization: Bearer ${wsToken}`,
  `Authorization: Bearer ${apiKey}`,
  `Authorization: Bearer ${secret}`,
  `Authorization: Bearer ${secret}.${secret}.${secret}`,
  `Authorization: Basic ${secret}`,
  "Authorization: Bearer",
  `X-API-Key: ${apiKey}`,
  `X-API-Key: ${secret}`,
  `X-API-Key: ${apiKey}, ${apiKey}`,
  'X-Request-Id: "},{"',
  "X-Request-Id: %0d%0aSet-Cookie:%20b",
  "X-Forwarded-For: ,,,",
  'X-Forwarded-For: "}\t\x7f\xff',
  `X-Forwarded-For: ${"1.2.3.4,".repeat(500)}`,
  "Origin: null",
  "Origin: http://[",
  `Origin: ${"o".repeat(5000)}`,
  "Accept-Encoding: br;q=x, gzip;;q=0.,",
  'If-None-Match: W/"", *, ,',
  "Expect: 100-continue",
  "Expect: nonsense",
  "Connection: Upgrade",
  "Connection: close, keep-alive, nonsense",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Version: 99",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  `Sec-WebSocket-Key: ${secret}`,
  "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
  "Idempotency-Key:",
  "__proto__: x",
  "constructor: x",
  `Cookie: ${secret}`,
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** Most of these Bun does not read. */
const brokenHeaders = [
  "Host:",
  `Host: ${"h".repeat(5000)}`,
  "Content-Length: 0",
  "Content-Length: 5",
  "Content-Length: 5",
  "Content-Length: -1",
  "Content-Length: +5",
  "Content-Length: 0x5",
  "Content-Length: 5, 5",
  "Content-Length: 18446744073709551617",
  "Content-Length: 999999999",
  "Content-Length : 5",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding:\x0bchunked",
  "Transfer-Encoding : chunked",
  "Content-Type: application/json\r\n folded",
  "X-Request-Id: a\rSet-Cookie: b",
  "X-Request-Id: a\nSet-Cookie: b",
  "Sec-WebSocket-Protocol: a, b, \xff",
  "No colon here",
  ": no name",
  "Na me: x",
  "N\xe4me: x",
  "Nul: \0",
  `Long: ${"v".repeat(30_000)}`,
  "Many: x\r\n".repeat(150).trimEnd(),
];

const oddBodies = [
  "",
  "{}",
  "12345",
  "0\r\n\r\n",
  "5\r\n12345\r\n0\r\n\r\n",
  "5\r\n1234",
  "-5\r\n12345\r\n0\r\n\r\n",
  "zz\r\n\r\n",
  "FFFFFFFFFFFFFFFFF\r\n",
  "5;ext=\xff\r\n12345\r\n0\r\nTrailer: x\r\n\r\n",
  "0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
  `{"API_KEY":"${apiKey}","msg":"${secret}","channel":"storm"}`,
  "\xff\xfe\x00",
];

/** Nearly right: these get further. */
const plausible: [address: string, method: string, headers: string[], body: string][] = [
  ["/notify", "POST", [`X-API-Key: ${apiKey}`], `{"msg":"${secret}","channel":"storm"}`],
  ["/notify", "POST", [`X-API-Key: ${apiKey}`, "Content-Type: text/plain"], "{}"],
  ["/notify", "POST", ["Content-Type: application/json"], `{"API_KEY":"${apiKey}","msg":1,"keycloak":"stormy"}`],
  ["/notify", "POST", [`X-API-Key: ${apiKey}`], `{"msg":"${"x".repeat(70_000)}","channel":"storm"}`],
  ["/authorize?keycloakID=stormy", "GET", [`Authorization: Bearer ${wsToken}`], ""],
  ["/connections/stormy", "DELETE", [`X-API-Key: ${apiKey}`], ""],
  ["/socket.io/?EIO=4&transport=polling", "GET", [], ""],
  ["/socket.io/?EIO=4&transport=websocket", "GET", Object.entries(upgradeHeaders).map((h) => h.join(": ")), ""],
  ["/socket.io/socket.io.esm.min.js", "HEAD", ["Accept-Encoding: br"], ""],
];

function oddRequest(random: Random): string {
  const seldom = (chance: number) => random() < chance;
  const [address, method, own, content] = seldom(0.3)
    ? pick(random, plausible)
    : [
        pick(random, seldom(0.08) ? brokenTargets : oddTargets),
        pick(random, seldom(0.03) ? noMethods : oddMethods),
        times(Math.floor(random() * 5), () => pick(random, oddHeaders)),
        seldom(0.5) ? pick(random, oddBodies) : "",
      ];
  const version = seldom(0.03) ? pick(random, ["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", "", "X"]) : "HTTP/1.1";
  const headers = [...own];
  if (seldom(0.2)) headers.push(pick(random, oddHeaders));
  if (seldom(0.1)) headers.push(pick(random, brokenHeaders));
  if (!seldom(0.1)) headers.unshift("Host: 127.0.0.1");
  if (!seldom(0.2)) headers.push(`Content-Length: ${content.length}`);
  const head = [`${method} ${address} ${version}`, ...headers].map((line) => `${line}\r\n`).join("");
  const request = `${head}\r\n${content}`;
  return seldom(0.1) ? mutate(random, request) : request;
}

test("requests that are hardly HTTP are answered with a problem, or bare by Bun, and harm nobody", async () => {
  const { seed, random } = seeded();
  const { url, expectUnharmed } = await target();
  const requests = times(3000, (i) => ({ i, text: oddRequest(random), at: random() }));
  const statuses = new Map<number, number>();
  await storm(requests, 64, async ({ i, text, at }) => {
    // One in eight dies in the middle.
    const cut = i % 8 === 0;
    const sent = cut ? text.slice(0, Math.ceil(at * text.length)) : text;
    const { answers } = await talk(url, sent, { cut, leaveAfter: () => handled(url) });
    for (const answer of answers) {
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      const shown = sent.slice(0, 2000);
      const flaw = flawOf(answer, text.startsWith("HEAD "));
      expect({ seed, i, shown, flaw }).toEqual({ seed, i, shown, flaw: null });
      // What a header brought in has not become a header of the answer.
      expect({ seed, i, cookie: answer.headers.get("set-cookie") }).toEqual({ seed, i, cookie: undefined });
    }
  });
  for (const status of [101, 200, 204, 400, 401, 404, 405, 413, 415, 431]) {
    expect([seed, status, statuses.get(status) ?? 0]).not.toEqual([seed, status, 0]);
  }
  await expectUnharmed(seed);
});

test("a request cannot hide another one in its body", async () => {
  const { url, expectUnharmed } = await target();
  const hidden = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
  const request = (...headers: string[]) =>
    `POST /notify HTTP/1.1\r\nHost: x\r\n${headers.map((line) => `${line}\r\n`).join("")}\r\n`;
  const next = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const sent of [
    request("Content-Length: 5", "Transfer-Encoding: chunked") + `0\r\n\r\n${hidden}`,
    request("Transfer-Encoding: chunked", `Content-Length: ${hidden.length + 5}`) + `0\r\n\r\n${hidden}`,
    request("Content-Length: 0", `Content-Length: ${hidden.length}`) + hidden,
    request(`Content-Length: ${hidden.length}`, "Content-Length: 0") + hidden,
    request("Transfer-Encoding: identity, chunked", "Transfer-Encoding: identity") + hidden,
    request("Transfer-Encoding: \x0bchunked", `Content-Length: ${hidden.length}`) + hidden,
    request("Transfer-Encoding : chunked", `Content-Length: ${hidden.length}`) + hidden,
    request(`Content-Length: ${hidden.length}`) + hidden,
  ]) {
    // The connection is closed after the refusal, or the next answer is that to the next request.
    const { answers, closed, text } = await talk(url, sent + next, { enough: 2 });
    expect([sent, answers.map(({ status }) => status)]).toEqual([sent, closed ? [400] : [400, 404]]);
    expect([sent, text.includes('"live"')]).toEqual([sent, false]);
  }
  await expectUnharmed(0);
});

/** A Socket.IO packet, or what looks like one, without the 4 of the engine. */
function socketPacket(random: Random, auth: string): string {
  const type = pick(random, ["0", "0", "1", "2", "2", "3", "4", "5", "6", "7", "9", "-", "", "x", "\0"]);
  const attachments = "56".includes(type)
    ? pick(random, ["", "0-", "1-", "2-", "10-", "11-", "-1-", "1e9-", "1.5-"])
    : "";
  const namespace = pick(random, ["", "", "", "/,", "/admin,", "/__proto__,", "/%00,", `/${"n".repeat(2000)},`, "/"]);
  const id = pick(random, ["", "", "", "0", "13", "-1", "9".repeat(400), "1e5", " "]);
  const payload = pick(random, [
    auth,
    auth,
    `["event","${secret}"]`,
    `["event",{"_placeholder":true,"num":0}]`,
    `["event",{"_placeholder":true,"num":-1},{"_placeholder":true,"num":1e9}]`,
    '["error",{"__proto__":{"polluted":true}}]',
    '["__proto__",{"constructor":{"prototype":{"polluted":true}}}]',
    '["disconnect"]',
    `{"token":"${secret}","keycloakID":"stormy","channel":"storm"}`,
    '{"token":{"toString":"x"},"keycloakID":["stormy"],"channel":{}}',
    '{"__proto__":{"token":"x"},"pid":{"a":1},"offset":{"b":2}}',
    ...oddTexts,
  ]);
  const packet = type + attachments + namespace + id + payload;
  return random() < 0.25 ? mutate(random, packet) : packet;
}

function enginePacket(random: Random, auth: string): string {
  if (random() < 0.85) return `4${socketPacket(random, auth)}`;
  return pick(random, [
    "0",
    "1",
    "2",
    "2probe",
    "3",
    "3probe",
    "5",
    "6",
    "7",
    "",
    "b",
    "bAAAA",
    "b!",
    `b${secret}`,
    "é",
  ]);
}

test("polling bodies that are no packets end their own session at most", async () => {
  const { seed, random } = seeded();
  const { url, auth, expectUnharmed } = await target();
  const sessions = times(250, (i) => ({
    i,
    bodies: times(Math.ceil(random() * 6), () => {
      const packets = times(Math.ceil(random() * 5), () => enginePacket(random, auth));
      // Half of the sessions are good until then: more of the code is in reach.
      if (i % 2 === 0) packets.unshift(`40${auth}`);
      const body = Buffer.from(packets.join(random() < 0.9 ? "\u001e" : "\n"));
      // Cut somewhere, it may not even be UTF-8.
      return new Uint8Array(random() < 0.1 ? body.subarray(0, Math.floor(random() * body.length)) : body);
    }),
  }));
  const statuses = new Set<number>();
  await storm(sessions, 25, async ({ i, bodies }) => {
    const { post } = await rawPolling(url);
    for (const body of bodies) {
      const answer = await answerOf(await post(body));
      statuses.add(answer.status);
      const flaw = answer.status === 200 && answer.body !== "ok" ? answer.body : flawOf(answer);
      expect({ seed, i, sent: Buffer.from(body).toString(), flaw }).toEqual({
        seed,
        i,
        sent: Buffer.from(body).toString(),
        flaw: null,
      });
    }
  });
  expect([...statuses].toSorted((a, b) => a - b)).toEqual([200, 400]);
  await expectUnharmed(seed);
});

test("websocket messages that are no packets end their own connection at most", async () => {
  const { seed, random } = seeded();
  const { url, auth, expectUnharmed } = await target();
  const connections = times(500, (i) => ({
    i,
    messages: times(Math.ceil(random() * 20), () =>
      random() < 0.2 ? Buffer.from(oddTexts.join("").slice(0, Math.floor(random() * 300))) : enginePacket(random, auth),
    ),
  }));
  await storm(connections, 30, async ({ i, messages }) => {
    const ws = await rawWebSocket(engineUrl(url, "websocket"));
    if (i % 3 > 0) await ws.send(`40${auth}`);
    await ws.send(...messages);
    // Some leave, some stay until they are thrown out, none of them is waited for.
    if (i % 5 === 0) ws.close();
  });
  await expectUnharmed(seed);
});

test("upgrades that are none end themselves at most, and leave no session behind", async () => {
  const { seed, random } = seeded();
  const { url, auth, expectUnharmed } = await target();
  const attempts = times(150, () => ({
    before: random() < 0.5,
    messages: times(Math.ceil(random() * 6), () =>
      pick(random, ["2probe", "2probe", "5", "5", "3", "1", enginePacket(random, auth)]),
    ),
    twice: random() < 0.3,
  }));
  await storm(attempts, 15, async ({ before, messages, twice }) => {
    const { sid, send } = await rawPolling(url);
    if (before) await send(`40${auth}`);
    const address = engineUrl(url, "websocket", sid);
    const ws = await rawWebSocket(address);
    await ws.send(...messages);
    if (twice) await rawWebSocket(address).catch(() => undefined);
    await send(`40${auth}`);
  });
  await expectUnharmed(seed);
});

test("bytes that are no websocket frames end their own connection at most", async () => {
  const { seed, random } = seeded();
  const { url, auth, expectUnharmed } = await target();
  const handshake = Buffer.from(upgradeRequest());
  const odd: (() => Uint8Array)[] = [
    () => frame(1, enginePacket(random, auth)),
    () => frame(2, enginePacket(random, auth)),
    () => frame(1, Buffer.from([0x34, 0xff, 0xfe, 0xc0, 0x80])),
    () => frame(1, `42["${secret}"]`, { masked: false }),
    () => frame(1, '42["x"]', { reserved: 1 + Math.floor(random() * 7) }),
    () => frame(3 + Math.floor(random() * 5), "reserved opcode"),
    () => frame(11 + Math.floor(random() * 5), "reserved opcode"),
    () => frame(0, "continues nothing"),
    () => frame(1, "4", { fin: false }),
    () => Buffer.concat([frame(1, "4", { fin: false }), frame(1, "2", { fin: false }), frame(0, '["x"]')]),
    () => Buffer.concat([frame(1, "4", { fin: false }), frame(9, ""), frame(0, `0${auth}`)]),
    () => frame(9, "x".repeat(126)),
    () => frame(9, "ping", { fin: false }),
    () => frame(10, "a pong that nobody asked for"),
    () => frame(8, ""),
    () => frame(8, Buffer.from([3])),
    () => frame(8, Buffer.from([0, 0])),
    () => frame(8, Buffer.concat([Buffer.from([0x03, 0xe8]), Buffer.from([0xff, 0xff])])),
    () => frame(1, "4", { declared: 900_000 }),
    () => frame(1, "4", { declared: 1_000_001 }),
    () => frame(1, "4", { declared: Number.MAX_SAFE_INTEGER }),
    () => crypto.getRandomValues(new Uint8Array(32)),
    () => Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
  ];
  const talks = times(300, (i) => ({
    i,
    bytes: Buffer.concat([
      handshake,
      i % 2 === 0 ? frame(1, `40${auth}`) : Buffer.alloc(0),
      ...times(Math.ceil(random() * 4), () => pick(random, odd)()),
    ]),
    at: random(),
  }));
  // All at once: most of them last until their heartbeat is not answered.
  await storm(talks, talks.length, async ({ i, bytes, at }) => {
    const cut = i % 6 === 0;
    const sent = cut ? bytes.subarray(0, handshake.length + Math.floor(at * (bytes.length - handshake.length))) : bytes;
    const { text } = await talk(url, sent, { cut, enough: Infinity });
    expect({ seed, i, is101: text.startsWith("HTTP/1.1 101 ") || (cut && text === "") }).toEqual({
      seed,
      i,
      is101: true,
    });
  });
  await expectUnharmed(seed);
});
