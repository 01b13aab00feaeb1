import { describe, expect, test } from "bun:test";
import { post } from "./support/client.ts";
import { start } from "./support/service.ts";

/** Whoever calls from a private network can write X-Forwarded-For: what no proxy would write takes no limit off. */

/** Last entries that are no address: no proxy has added them. */
const garbage = [
  "1",
  "",
  ",",
  ",,,",
  "unknown",
  "_hidden",
  "example.com",
  "1.2.3",
  "1.2.3.4.5",
  "256.1.1.1",
  "0x7f000001",
  "1.2.3.4:",
  "1.2.3.4:port",
  "1.2.3.4%eth0",
  "[::1",
  "[::1]:x",
  "[]",
  "::ffff:1.2.3.4.5",
  "1.2.3.4 5.6.7.8",
  '"1.2.3.4"',
  "for=1.2.3.4",
];
/** Last entries as proxies write them. */
const written = ["192.0.2.7", "192.0.2.7:5", "2001:db8::7", "[2001:db8::7]:80", "::ffff:192.0.2.7", "fe80::1%eth0"];
const most = 5;

/** A service that is called from loopback, a private network like any other. */
async function setUp(trust_proxy_hops: number) {
  const now_ms = Date.now();
  const { url } = await start(
    { AMPER_AUTH_FAILURES_PER_MINUTE: String(most), AMPER_TRUST_PROXY_HOPS: String(trust_proxy_hops) },
    { now: () => now_ms },
  );
  const guess = async (forwardedFor?: string) => {
    const headers = forwardedFor === undefined ? {} : { "X-Forwarded-For": forwardedFor };
    return (await post(url, { API_KEY: "wrong-0123456789", msg: 1, channel: "msf" }, headers)).status;
  };
  /** The peer has met its own limit. */
  const exhaust = async () => {
    for (let i = 0; i < most; i++) expect(await guess()).toBe(401);
    expect(await guess()).toBe(429);
  };
  return { guess, exhaust };
}

describe("of a peer in a private network", () => {
  test("guesses are limited although it sends an X-Forwarded-For that no proxy has written", async () => {
    const { guess } = await setUp(0);
    const statuses = await Array.fromAsync({ length: 400 }, () => guess("1"));
    expect(statuses.filter((status) => status === 429)).toHaveLength(400 - most);
  });

  for (const hops of [0, 1, 2]) {
    test(`an entry that is no address counts as the peer, with trust_proxy_hops = ${hops}`, async () => {
      const { guess, exhaust } = await setUp(hops);
      await exhaust();
      const rest = hops === 2 ? ", 10.0.0.1" : "";
      for (const entry of garbage) {
        expect([entry, await guess(entry + rest)]).toEqual([entry, 429]);
        const after = `198.51.100.1, ${entry}${rest}`;
        expect([after, await guess(after)]).toEqual([after, 429]);
      }
    });

    test(`an entry that is an address is a client's, with trust_proxy_hops = ${hops}`, async () => {
      const { guess, exhaust } = await setUp(hops);
      await exhaust();
      for (const entry of written) {
        const entries = `unknown, ${entry}${hops === 2 ? ", 10.0.0.1" : ""}`;
        expect([entries, await guess(entries)]).toEqual([entries, 401]);
      }
    });
  }
});
