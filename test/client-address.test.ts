import { describe, expect, test } from "bun:test";
import { createClients } from "../src/limits/address.ts";

const peer = "198.51.100.9";

function clients(trust_proxy_hops: number) {
  const warned: string[] = [];
  const { of } = createClients({ trust_proxy_hops }, { undeclaredProxy: (from) => void warned.push(from) });
  const ask = (from: string, ...forwardedFor: string[]) => {
    const headers = new Headers();
    for (const value of forwardedFor) headers.append("X-Forwarded-For", value);
    const requestIP = () => ({ address: from, family: "IPv4", port: 1 }) as const;
    return of(new Request("http://localhost", { headers }), { requestIP });
  };
  return { ask, warned };
}

const same = (address: string) => ({ address, key: address });

describe("without a proxy", () => {
  test("the client is the peer, and a forged X-Forwarded-For gains nothing", () => {
    const { ask, warned } = clients(0);
    expect(ask(peer)).toEqual(same(peer));
    for (const forged of ["10.0.0.1", "127.0.0.1", "1.1.1.1, 2.2.2.2", "unknown", ""]) {
      expect(ask(peer, forged)).toEqual(same(peer));
    }
    expect(warned).toEqual([]);
  });

  test("limits are off behind a proxy that was not declared, and this is told once", () => {
    const inside = [
      "127.0.0.1",
      "::1",
      "10.1.2.3",
      "172.16.0.1",
      "192.168.0.7",
      "100.64.0.1",
      "169.254.1.1",
      "fd00::7",
    ];
    for (const proxy of [...inside, "fe80::1%eth0", "::ffff:10.1.2.3"]) {
      const { ask, warned } = clients(0);
      expect([proxy, ask(proxy, "1.1.1.1").key]).toEqual([proxy, undefined]);
      expect(ask(proxy, "1.1.1.1").address).toBe(proxy.replace("%eth0", "").replace("::ffff:", ""));
      expect(warned).toHaveLength(1);
      expect(ask(proxy).key).toBeString();
    }
  });

  test("a peer of a public network is limited, whatever it sends", () => {
    const { ask, warned } = clients(0);
    for (const from of ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1", "2600::1"]) {
      expect(ask(from, "10.0.0.1").key).toBeString();
    }
    expect(warned).toEqual([]);
  });
});

describe("behind proxies", () => {
  test("the client is the N-th entry from the right", () => {
    const chain = "6.6.6.6, 5.5.5.5, 4.4.4.4";
    expect(clients(1).ask(peer, chain)).toEqual(same("4.4.4.4"));
    expect(clients(2).ask(peer, chain)).toEqual(same("5.5.5.5"));
    expect(clients(3).ask(peer, chain)).toEqual(same("6.6.6.6"));
    expect(clients(2).ask(peer, "6.6.6.6,5.5.5.5,4.4.4.4")).toEqual(same("5.5.5.5"));
  });

  test("a forged X-Forwarded-For gains nothing: what the client wrote stands left of what the proxies saw", () => {
    const { ask } = clients(2);
    for (const forged of ["1.1.1.1", "1.1.1.1, 2.2.2.2, 3.3.3.3", "127.0.0.1", ",,,", "unknown", "\t"]) {
      expect(ask(peer, `${forged}, 192.0.2.7, 10.0.0.1`)).toEqual(same("192.0.2.7"));
    }
  });

  test("several headers are one list", () => {
    expect(clients(2).ask(peer, "1.1.1.1", "192.0.2.7, 10.0.0.1")).toEqual(same("192.0.2.7"));
    expect(clients(2).ask(peer, "1.1.1.1, 192.0.2.7", "10.0.0.1")).toEqual(same("192.0.2.7"));
  });

  test("what did not come by all of them is the peer's own: it may have been written by anybody", () => {
    const { ask, warned } = clients(2);
    for (const headers of [[], ["1.1.1.1"], [""]]) expect(ask("10.0.0.5", ...headers)).toEqual(same("10.0.0.5"));
    expect(warned).toEqual([]);
  });

  test("an entry may have a port", () => {
    const { ask } = clients(1);
    expect(ask(peer, "192.0.2.7:5678")).toEqual(same("192.0.2.7"));
    expect(ask(peer, "[2001:db8::1]:443")).toEqual({ address: "2001:db8::1", key: "2001:db8:0:0::/64" });
    expect(ask(peer, "[2001:db8::1]")).toEqual({ address: "2001:db8::1", key: "2001:db8:0:0::/64" });
    expect(ask(peer, "[::ffff:192.0.2.7]:80")).toEqual(same("192.0.2.7"));
  });

  test("an entry that is no address counts as the peer", () => {
    const { ask } = clients(1);
    const garbage = ["unknown", "_hidden", "example.com", "", " ", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4"];
    const more = [
      "0x7f.1",
      "1.2.3.4:",
      "1.2.3.4:99999999",
      "[1.2.3.4",
      "::1]",
      "[]",
      "[::1]:x",
      ":::",
      "1%2",
      "1.2.3.4%eth0",
    ];
    for (const entry of [...garbage, ...more, "12345::", '"192.0.2.7"', "192.0.2.7 evil", "9".repeat(5000)]) {
      expect([entry, ask(peer, `1.1.1.1, ${entry}`)]).toEqual([entry, same(peer)]);
    }
  });
});

describe("an address", () => {
  const keyOf = (address: string) => clients(0).ask(address).key;

  test("of IPv6 is limited by its network of 2^64, however it is written", () => {
    const network = keyOf("2001:db8:1:2::1");
    const others = [
      "2001:db8:1:2::2",
      "2001:0DB8:0001:0002:ffff:ffff:ffff:ffff",
      "2001:db8:1:2:0:0:0:0",
      "2001:db8:1:2::%x",
    ];
    for (const other of others) expect([other, keyOf(other)]).toEqual([other, network]);
    for (const other of ["2001:db8:1:3::1", "2001:db8::1", "2001:db8:1:20::1"]) expect(keyOf(other)).not.toBe(network);
  });

  test("of IPv4 that is written as IPv6 is that of IPv4", () => {
    for (const written of ["::ffff:192.0.2.7", "::FFFF:192.0.2.7", "::ffff:c000:207", "0:0:0:0:0:ffff:192.0.2.7"]) {
      expect(clients(0).ask(written)).toEqual(same("192.0.2.7"));
    }
    expect(keyOf("192.0.2.8")).not.toBe(keyOf("192.0.2.7"));
  });

  test("is logged in one form, without what is no part of it", () => {
    const { ask } = clients(1);
    expect(ask(peer, "2001:0DB8:0:0:0:0:0:1").address).toBe("2001:db8::1");
    expect(ask(peer, "fe80::1%eth0").address).toBe("fe80::1");
  });

  test("that is not known any more, because the peer has gone, is one of its own", () => {
    expect(clients(0).ask("")).toEqual(same(""));
    expect(clients(1).ask("", "unknown")).toEqual(same(""));
  });
});
