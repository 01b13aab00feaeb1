import { describe, expect, test } from "bun:test";
import { authorize, connected, notify, transports } from "./support/client.ts";
import { engineUrl, metric, noSessions, rawPolling, rawWebSocket, until } from "./support/raw.ts";
import { start } from "./support/service.ts";
import { begin, chunk } from "./support/unfinished.ts";

/** What a client sends by polling: it is judged by its session before its body, and comes one at a time. */

const posting = (sid: string, ...headers: string[]): string[] => [
  `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1`,
  "Host: x",
  ...headers,
];
const chunked = "Transfer-Encoding: chunked";

describe("data for a session that is not there", () => {
  const bodies: Record<string, [header: string, body: string]> = {
    "in chunks, the first of which has come": [chunked, chunk("x".repeat(4000))],
    "in chunks, of which none has come": [chunked, ""],
    "that declare their length": ["Content-Length: 4000", "x".repeat(3999)],
    "that declare their length, of which none has come": ["Content-Length: 1", ""],
    "that are too long": ["Content-Length: 100000000", "x".repeat(20_000)],
  };
  for (const [name, [header, body]] of Object.entries(bodies)) {
    test(`are refused before they have come: ${name}`, async () => {
      const { url } = await start();
      for (const sid of ["nobody", "AAAAAAAAAAAAAAAAAAAA", "%00"]) {
        const answer = await begin(url, posting(sid, header), body).said(/\}$/);
        expect(answer).toStartWith("HTTP/1.1 400 ");
        expect(answer).toContain("Session ID unknown");
      }
      expect(await metric(url, "amper_unfinished_bytes")).toBe(0);
    });
  }

  test("are refused as well when it has moved to a websocket, or has ended", async () => {
    const { url } = await start();
    const polling = await rawPolling(url);
    const ws = await rawWebSocket(engineUrl(url, "websocket", polling.sid));
    await ws.send("2probe");
    expect(await ws.next()).toBe("3probe");
    await ws.send("5");
    await until("it has moved", async () => (await (await polling.post("3")).text()).includes("Bad request"));
    expect(await begin(url, posting(polling.sid, chunked), chunk("4")).said(/\}$/)).toContain("Bad request");
    ws.close();
    await noSessions(url);
    expect(await begin(url, posting(polling.sid, chunked), chunk("4")).said(/\}$/)).toContain("Session ID unknown");
  });
});

describe("data for a session", () => {
  test("whose last data are still on their way end it, and the page comes back and misses nothing", async () => {
    const { url } = await start();
    const alice = await connected(url, "alice", "msf", transports["polling only"]);
    const sid = alice.socket.io.engine.id;
    const first = begin(url, posting(sid, "Content-Length: 11"), "4");
    await until("it has begun", async () => (await metric(url, "amper_unfinished_bytes")) === 11);
    const back = new Promise<void>((resolve) => alice.socket.once("connect", resolve));
    const second = begin(url, posting(sid, "Content-Length: 1"), "3");
    expect(await second.said(/\}$/)).toStartWith("HTTP/1.1 400 ");
    await notify(url, { msg: "meanwhile", keycloak: "alice" });
    await back;
    expect(alice.socket.recovered).toBe(true);
    expect(await alice.count(1)).toEqual(["meanwhile"]);
    first.send("2[1,2,3,4]");
    expect(await first.said(/\}$/)).toStartWith("HTTP/1.1 400 ");
  });

  test("one after the other are taken, declared or in chunks, on one connection or on several", async () => {
    const { url } = await start();
    const { token } = await authorize(url);
    const raw = await rawPolling(url);
    const packet = `40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`;
    const one = begin(url, posting(raw.sid, chunked), chunk(packet.slice(0, 20)));
    one.send(`${chunk(packet.slice(20))}0\r\n\r\n`);
    expect(await one.said(/ok$/)).toStartWith("HTTP/1.1 200 ");
    one.send(`${posting(raw.sid, "Content-Length: 1").join("\r\n")}\r\n\r\n3`);
    await one.said(/ok[^]*ok$/);
    expect((await raw.post("3")).status).toBe(200);
    expect(await raw.next()).toStartWith('40{"sid"');
  });

  test("that break off end it", async () => {
    const { url } = await start();
    for (const [header, body] of [
      ["Content-Length: 10", "4"],
      [chunked, chunk("4")],
    ] as const) {
      const { sid } = await rawPolling(url);
      const data = begin(url, posting(sid, header), body);
      await until("they have begun", async () => (await metric(url, "amper_unfinished_bytes")) > 0);
      data.cut();
      await noSessions(url);
    }
  });
});
