import { describe, expect, test } from "bun:test";
import { authorize, connected, next, page } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, metric, parseOpen, until, upgradeHeaders } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** What one address may have of what all draw on. */

const from = (address: string) => ({ "X-Forwarded-For": address });

async function setUp(env: Record<string, string>) {
  const { url } = await start({ AMPER_TRUST_PROXY_HOPS: "1", AMPER_METRICS_OPEN: "true", ...env });
  const { token } = await authorize(url);
  const handshake = (address: string) => fetch(engineUrl(url, "polling"), { headers: from(address) });
  const post = (sid: string, body: string) => fetch(engineUrl(url, "polling", sid), { method: "POST", body });
  return {
    url,
    token,
    handshake,
    /** An Engine.IO session by polling that sends no CONNECT; its sid. */
    open: async (address: string) => parseOpen(await (await handshake(address)).text()).sid,
    /** Its CONNECT, and the answer to it. */
    async connect(sid: string): Promise<string> {
      await post(sid, `40${JSON.stringify({ token, keycloakID: sid, channel: "msf" })}`);
      return (await fetch(engineUrl(url, "polling", sid))).text();
    },
    close: (sid: string) => post(sid, "1"),
    /** A second poll beside one that waits would end the session: an answer to a heartbeat is harmless. */
    isOpen: async (sid: string) => (await post(sid, "3")).status === 200,
    met: (limit: string) => metric(url, `amper_limited_total{limit="${limit}"}`),
  };
}

describe("max_polling_per_address", () => {
  test("leaves the other polling places to other addresses, whatever one has with one unbound token", async () => {
    const { open, connect, handshake, met } = await setUp({
      AMPER_MAX_POLLING: "8",
      AMPER_MAX_POLLING_PER_ADDRESS: "2",
    });
    for (let i = 0; i < 2; i++) expect(await connect(await open("192.0.2.1"))).toStartWith("40");
    for (let i = 0; i < 9; i++) {
      const refused = await handshake("192.0.2.1");
      expect(refused.headers.get("retry-after")).toBe("5");
      const { detail } = await expectProblem(refused, "rate_limited");
      expect(detail).toContain("max_polling_per_address");
    }
    expect(await met("max_polling_per_address")).toBe(9);
    expect(await met("max_polling")).toBe(0);
    for (const address of ["192.0.2.2", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"])
      expect(await connect(await open(address))).toStartWith("40");
    await expectProblem(await handshake("192.0.2.2"), "rate_limited");
  });

  test("counts sessions that have sent no CONNECT, and those that come at once", async () => {
    const { handshake } = await setUp({ AMPER_MAX_POLLING_PER_ADDRESS: "3" });
    const answers = await Promise.all(Array.from({ length: 12 }, () => handshake("192.0.2.1")));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(9);
  });

  test("is nothing to pages that use websockets only", async () => {
    const { url, open } = await setUp({ AMPER_MAX_POLLING_PER_ADDRESS: "1" });
    await open("192.0.2.1");
    for (let i = 0; i < 3; i++) {
      await connected(url, "alice", "msf", { transports: ["websocket"], extraHeaders: from("192.0.2.1") });
    }
    const headers = { ...upgradeHeaders, ...from("192.0.2.1") };
    expect((await fetch(engineUrl(url, "websocket"), { headers })).status).toBe(101);
  });

  test("is given back by a connection that upgrades, is closed, or ends", async () => {
    const { url, open, close, handshake } = await setUp({ AMPER_MAX_POLLING_PER_ADDRESS: "1" });
    const extraHeaders = from("192.0.2.1");
    const upgraded = () => metric(url, 'amper_connections{transport="websocket"}');
    for (let i = 1; i <= 3; i++) {
      await connected(url, "alice", "msf", { extraHeaders });
      await until("it has upgraded", async () => (await upgraded()) === i);
    }
    for (let i = 0; i < 3; i++) await close(await open("192.0.2.1"));
    const { socket } = await connected(url, "bob", "msf", { extraHeaders, transports: ["polling"] });
    await expectProblem(await handshake("192.0.2.1"), "rate_limited");
    socket.disconnect();
    await until("its place is free", async () => (await handshake("192.0.2.1")).status === 200);
    await expectProblem(await handshake("192.0.2.1"), "rate_limited");
  });

  test("is met for now: a page comes back by itself as soon as there is room", async () => {
    const { url, token, open, close } = await setUp({ AMPER_MAX_POLLING_PER_ADDRESS: "1" });
    const sid = await open("192.0.2.1");
    const { socket } = page(url, { token, keycloakID: "alice", channel: "msf" }, { extraHeaders: from("192.0.2.1") });
    await next(socket, "connect_error");
    expect(socket.active).toBe(true);
    await close(sid);
    await next(socket, "connect");
  });
});

test("max_polling counts connections that have authenticated: strangers do not use it up", async () => {
  const { open, connect, handshake, met } = await setUp({ AMPER_MAX_POLLING: "2" });
  for (let i = 0; i < 5; i++) await open(`192.0.2.${i}`);
  for (let i = 0; i < 2; i++) expect(await connect(await open("192.0.2.9"))).toStartWith("40");
  await expectProblem(await handshake("192.0.2.9"), "overloaded");
  expect(await met("max_polling")).toBe(1);
});

describe("max_unauthenticated_per_address", () => {
  test("one more ends the oldest of its address, and nobody else's", async () => {
    const { url, open, connect, isOpen, met } = await setUp({ AMPER_MAX_UNAUTHENTICATED_PER_ADDRESS: "2" });
    const others = [await open("192.0.2.2"), await open("192.0.2.3")];
    const own: string[] = [];
    for (let i = 0; i < 6; i++) own.push(await open("192.0.2.1"));
    expect(await Promise.all(own.map(isOpen))).toEqual([false, false, false, false, true, true]);
    expect(await Promise.all(others.map(isOpen))).toEqual([true, true]);
    expect(await met("max_unauthenticated_per_address")).toBe(4);
    expect(await met("max_unauthenticated")).toBe(0);
    for (const sid of [...others, ...own.slice(4)]) expect(await connect(sid)).toStartWith("40");
    expect(await metric(url, "amper_sessions_unauthenticated")).toBe(0);
  });

  test("a page gets in while its neighbour behind the same address takes all places", async () => {
    const { url, open } = await setUp({ AMPER_MAX_UNAUTHENTICATED_PER_ADDRESS: "3" });
    const extraHeaders = from("192.0.2.1");
    for (let i = 0; i < 5; i++) {
      for (let k = 0; k < 4; k++) await open("192.0.2.1");
      await connected(url, "alice", "msf", { extraHeaders });
    }
  });
});
