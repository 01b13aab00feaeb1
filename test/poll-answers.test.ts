import { describe, expect, test } from "bun:test";
import { authorize, notify } from "./support/client.ts";
import { engineUrl, metric, parseOpen, rawWebSocket, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** How many packets come in the answer to a poll: python-engineio takes 16. */

const pythons = ["python-requests/2.34.2", "Python/3.11 aiohttp/3.12.1"];
const others = ["Mozilla/5.0 (X11; Linux x86_64)", "okhttp/3.12.12", "curl/8.5.0", "monty-python/1.0", ""];

describe("the answer to a poll", () => {
  /** A client that has connected, and polls by hand. */
  async function connect(userAgent: string) {
    const { url } = await start({ AMPER_PING_INTERVAL_MS: "120000" });
    const headers = { "User-Agent": userAgent };
    const { sid } = parseOpen(await (await fetch(engineUrl(url, "polling"), { headers })).text());
    const address = engineUrl(url, "polling", sid);
    const poll = async (): Promise<string[]> => (await (await fetch(address, { headers })).text()).split("\u001e");
    const send = (body: string) => fetch(address, { method: "POST", headers, body });
    const auth = { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" };
    await send(`40${JSON.stringify(auth)}`);
    await until("it is connected", async () => (await metric(url, "amper_users")) === 1);
    expect((await poll()).at(0)).toStartWith("40");
    const notified = async (count: number) => {
      for (let msg = 0; msg < count; msg++) await notify(url, { msg, keycloak: "alice" });
    };
    return { url, sid, poll, notified, end: () => send("1") };
  }

  const numbers = (packets: readonly string[]) =>
    packets.map((packet) => Number(/^42\["notification",(\d+),/.exec(packet)?.[1]));
  const upTo = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

  for (const userAgent of pythons) {
    test(`has at most 16 packets, and the next ones the rest, for ${userAgent}`, async () => {
      const { poll, notified, end } = await connect(userAgent);
      await notified(40);
      const answers = [await poll(), await poll(), await poll()];
      expect(answers.map(numbers)).toEqual([upTo(0, 16), upTo(16, 32), upTo(32, 40)]);
      await notified(16);
      expect(numbers(await poll())).toEqual(upTo(0, 16));
      const waiting = poll();
      await notified(1);
      expect(numbers(await waiting)).toEqual([0]);
      await end();
    });
  }

  for (const userAgent of others) {
    test(`has everything that waits, for ${userAgent === "" ? "a client without a name" : userAgent}`, async () => {
      const { poll, notified, end } = await connect(userAgent);
      await notified(40);
      expect(numbers(await poll())).toEqual(upTo(0, 40));
      await end();
    });
  }

  test("leaves nothing behind at an upgrade in the middle: the rest comes by websocket", async () => {
    const { url, sid, poll, notified } = await connect("python-requests/2.34.2");
    await notified(40);
    expect(numbers(await poll())).toEqual(upTo(0, 16));
    const ws = await rawWebSocket(engineUrl(url, "websocket", sid));
    await ws.send("2probe");
    expect(await ws.next()).toBe("3probe");
    await ws.send("5");
    const rest: string[] = [];
    while (rest.length < 24) rest.push(await ws.next());
    expect(numbers(rest)).toEqual(upTo(16, 40));
  });

  test("brings all before the end of a session that is closed meanwhile", async () => {
    const { url, poll, notified } = await connect("python-requests/2.34.2");
    await notified(40);
    const response = await fetch(`${url}/connections/alice`, {
      method: "DELETE",
      headers: { "X-API-Key": apiKey },
    });
    expect(response.status).toBe(200);
    const answers: string[][] = [];
    for (let i = 0; i < 3; i++) answers.push(await poll());
    expect(numbers(answers.flat().slice(0, 40))).toEqual(upTo(0, 40));
    expect(answers.flat().slice(40)).toContain('42["closing",{"code":"revoked","reconnect":false}]');
  });
});
