import { describe, expect, test } from "bun:test";
import { connected, notify, post } from "./support/client.ts";
import { handled, metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";
import { begin, chunk, type Unfinished } from "./support/unfinished.ts";

/** Bodies that never end hold the room of their own sender, and nobody else's. */

const size = 60_000;
const behindProxy = { AMPER_TRUST_PROXY_HOPS: "1", AMPER_METRICS_OPEN: "true" };
const oneMiB = { ...behindProxy, AMPER_MAX_UNFINISHED_BYTES: "1 MiB" };
const declared = `Content-Length: ${size}`;
const chunked = "Transfer-Encoding: chunked";
const filler = "x".repeat(size - 1);

const notifying = (address: string, ...headers: string[]): string[] => [
  "POST /notify HTTP/1.1",
  "Host: x",
  "Content-Type: application/json",
  `X-Forwarded-For: ${address}`,
  ...headers,
];

const unfinished_bytes = (url: string): Promise<number> => metric(url, "amper_unfinished_bytes");
const met = (url: string): Promise<number> => metric(url, 'amper_limited_total{limit="max_unfinished_bytes"}');

/** One after the other, so that it is certain which is the oldest. */
async function fill(url: string, count: number, address: (i: number) => string): Promise<Unfinished[]> {
  const bodies: Unfinished[] = [];
  for (let i = 0; i < count; i++) {
    bodies.push(begin(url, notifying(address(i), declared), filler));
    await handled(url);
  }
  return bodies;
}

/** A notification with the key in its body, of `size` bytes. */
function notification(): string {
  const bare = JSON.stringify({ API_KEY: apiKey, msg: "", channel: "msf" });
  return bare.replace('""', `"${"é".repeat((size - bare.length) / 2)}${bare.length % 2 === 0 ? "" : "x"}"`);
}

function expectDropped(answer: string): void {
  expect(answer).toStartWith("HTTP/1.1 503 ");
  expect(answer).toContain('"code":"overloaded"');
  expect(answer).toContain("max_unfinished_bytes");
  expect(answer.toLowerCase()).toContain("retry-after: ");
  expect(answer.toLowerCase()).toContain("connection: close");
}

describe("when the bodies that are being received have max_unfinished_bytes", () => {
  test("the address that holds most loses its oldest, and a slow neighbour none", async () => {
    const { url } = await start(oneMiB);
    const text = Buffer.from(notification());
    expect(text.length).toBe(size);
    const neighbour = begin(url, notifying("192.0.2.2", declared), text.subarray(0, 100));
    await handled(url);
    const flood = await fill(url, 30, () => "192.0.2.1");
    // 17 of them fit into a MiB, the neighbour's among them.
    for (const body of flood.slice(0, 14)) expectDropped(await body.closed);
    expect(flood.slice(14).map(({ text: answer, isClosed }) => [answer, isClosed])).toEqual(
      Array.from({ length: 16 }, () => ["", false]),
    );
    expect(await met(url)).toBe(14);
    expect(await unfinished_bytes(url)).toBe(17 * size);
    neighbour.send(text.subarray(100));
    expect(await neighbour.said(/\}$/)).toStartWith("HTTP/1.1 200 ");
  });

  test("many addresses that hold one each do not end the one of another", async () => {
    const { url } = await start(oneMiB);
    const neighbour = begin(url, notifying("192.0.2.200", "Content-Length: 1001"), "x".repeat(1000));
    await handled(url);
    const flood = await fill(url, 40, (i) => `192.0.2.${i}`);
    await until("23 are gone", async () => (await met(url)) === 23);
    expect(flood.filter(({ text }) => text !== "").length).toBe(23);
    expect(neighbour.text).toBe("");
  });

  test("an IPv6 network of one customer counts as one", async () => {
    const { url } = await start(oneMiB);
    const neighbour = begin(url, notifying("2001:db8:1::1", declared), "{");
    await handled(url);
    const flood = await fill(url, 20, (i) => `2001:db8:2::${i}`);
    for (const body of flood.slice(0, 4)) expectDropped(await body.closed);
    expect(neighbour.text).toBe("");
  });

  test("who sends whole bodies is served, whatever others of the same address leave open", async () => {
    const { url } = await start(oneMiB);
    const alice = await connected(url, "alice", "msf");
    await fill(url, 20, () => "192.0.2.1");
    for (let i = 0; i < 40; i++) {
      const response = await post(url, { API_KEY: apiKey, msg: i, channel: "msf" }, { "X-Forwarded-For": "192.0.2.1" });
      expect(response.status).toBe(200);
    }
    expect(await alice.count(40)).toHaveLength(40);
  });

  test("a proxy that is not declared counts as an address, too", async () => {
    const { url } = await start({ AMPER_MAX_UNFINISHED_BYTES: "1 MiB" });
    const [oldest] = await fill(url, 18, (i) => `192.0.2.${i}`);
    expectDropped((await oldest?.closed) ?? "");
    expect(await notify(url, { msg: 1, channel: "msf" })).toMatchObject({ connections: 0 });
  });
});

describe("the bytes of a body are given back", () => {
  test("when it has come, is cut, is too large, or is refused", async () => {
    const { url } = await start(behindProxy);
    const text = notification();
    const whole = begin(url, notifying("192.0.2.1", declared), text.slice(0, 50));
    const dead = begin(url, notifying("192.0.2.1", declared), text.slice(0, 50));
    const dying = begin(url, notifying("192.0.2.1", chunked), chunk("a".repeat(5000)));
    const large = begin(url, notifying("192.0.2.1", chunked), chunk("a".repeat(65_000)));
    await until("all are counted", async () => (await unfinished_bytes(url)) === 2 * size + 70_000);
    whole.send(text.slice(50));
    expect(await whole.said(/\}$/)).toStartWith("HTTP/1.1 ");
    large.send(chunk("a".repeat(1000)));
    expect(await large.said(/\}$/)).toStartWith("HTTP/1.1 413 ");
    dead.cut();
    dying.cut();
    await until("nothing is left", async () => (await unfinished_bytes(url)) === 0);
    const refused = begin(url, notifying("192.0.2.1", declared, "X-API-Key: wrong"), text.slice(0, 50));
    expect(await refused.said(/\}$/)).toStartWith("HTTP/1.1 401 ");
    expect(await unfinished_bytes(url)).toBe(0);
  });

  test("at once, so that others find the room empty", async () => {
    const { url } = await start(oneMiB);
    for (const address of ["192.0.2.1", "192.0.2.2", "192.0.2.3"]) {
      const flood = await fill(url, 17, () => address);
      await until("all are counted", async () => (await unfinished_bytes(url)) === 17 * size);
      for (const body of flood) body.cut();
      await until("nothing is left", async () => (await unfinished_bytes(url)) === 0);
    }
    expect(await met(url)).toBe(0);
  });
});

describe("a body in chunks", () => {
  test("is counted as it comes, and not before", async () => {
    const { url } = await start({ ...oneMiB, AMPER_MAX_UNFINISHED_BYTES: "64 KiB" });
    const bodies = Array.from({ length: 100 }, () => begin(url, notifying("192.0.2.1", chunked), chunk("{")));
    await until("all are counted", async () => (await unfinished_bytes(url)) === 100);
    bodies[50]?.send(chunk("x".repeat(65_430)));
    await until("it is counted", async () => (await unfinished_bytes(url)) === 65_530);
    bodies[50]?.send(chunk("x".repeat(10)));
    expectDropped((await bodies[0]?.closed) ?? "");
    expect(await met(url)).toBeGreaterThan(0);
    expect(bodies[99]?.text).toBe("");
  });

  test("of one byte each is what was sent", async () => {
    const { url } = await start(behindProxy);
    const alice = await connected(url, "alice", "msf");
    const text = JSON.stringify({ API_KEY: apiKey, msg: "é".repeat(300), channel: "msf" });
    const body = begin(url, notifying("192.0.2.1", chunked));
    for (const byte of Buffer.from(text).toString("latin1")) body.send(Buffer.from(chunk(byte), "latin1"));
    body.send("0\r\n\r\n");
    expect(await body.said(/\}$/)).toStartWith("HTTP/1.1 200 ");
    expect(await alice.count(1)).toEqual(["é".repeat(300)]);
  });

  test("whose end does not come is no notification, although its JSON is complete", async () => {
    const { url } = await start(behindProxy);
    const alice = await connected(url, "alice", "msf");
    const text = JSON.stringify({ API_KEY: apiKey, msg: "cut", channel: "msf" });
    const body = begin(url, notifying("192.0.2.1", chunked), chunk(text));
    await until("it is counted", async () => (await unfinished_bytes(url)) === text.length);
    body.cut();
    await until("it is gone", async () => (await unfinished_bytes(url)) === 0);
    await notify(url, { msg: "whole", channel: "msf" });
    expect(await alice.count(1)).toEqual(["whole"]);
  });
});

test("a logout whose body never ends counts as well", async () => {
  const { url } = await start(oneMiB);
  const head = ["POST /backchannel-logout HTTP/1.1", "Host: x", "X-Forwarded-For: 192.0.2.9", declared];
  const bodies = Array.from({ length: 18 }, () => begin(url, head, "logout_token="));
  await until("one is gone", () => bodies.some(({ isClosed }) => isClosed));
  expectDropped(bodies.find(({ isClosed }) => isClosed)?.text ?? "");
  expect(await met(url)).toBe(1);
});
