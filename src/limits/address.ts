import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";

/** Whom a request comes from. */
export interface Client {
  /** An IP address, as it may stand in a log line. */
  readonly address: string;
  /** What limits per address count by. Undefined: they are off for this request. */
  readonly key: string | undefined;
}

export interface Clients {
  /** Asked again, it answers the same: a request that has become a websocket has no address any more. */
  of(req: Request, server: Pick<Bun.Server<unknown>, "requestIP">): Client;
}

/** Where proxies are, and hardly anybody else. 100.64.0.0/10, too: clusters give it to their nodes and pods. */
const inside = new Set(["loopback", "private", "linkLocal", "uniqueLocal", "carrierGradeNat"]);

/**
 * The client's address. Every proxy appends the address it was called from to X-Forwarded-For, so with N trusted proxies
 * the N-th entry from the right is the client's; all that stands left of it came from the client and proves nothing.
 */
export function createClients(
  { trust_proxy_hops }: Pick<Settings, "trust_proxy_hops">,
  events: Pick<Events["requests"], "undeclaredProxy">,
): Clients {
  const known = new WeakMap<Request, Client>();
  let hasWarned = false;

  function clientOf(peer: string, forwardedFor: string | null): Client {
    const direct = parse(peer) ?? unknown(peer);
    if (forwardedFor === null) return direct;
    // With fewer entries than proxies it did not come by all of them, and what is in the header anybody may have written.
    const entry = forwardedFor.split(",").at(-Math.max(1, trust_proxy_hops)) ?? "";
    const forwarded = parse(withoutPort(entry.trim()));
    // Proxies append addresses: anything else is the peer's own, which must not rid it of its limits.
    if (forwarded === undefined) return direct;
    return trust_proxy_hops === 0 ? behindUndeclaredProxy(direct) : forwarded;
  }

  function behindUndeclaredProxy(direct: Client): Client {
    if (!inside.has(rangeOf(direct.address))) return direct;
    // All users would be counted as one: better no limit than one that a single user meets for all.
    if (!hasWarned) events.undeclaredProxy(direct.address);
    hasWarned = true;
    return { ...direct, key: undefined };
  }

  return {
    of(req, server) {
      const before = known.get(req);
      if (before !== undefined) return before;
      const client = clientOf(server.requestIP(req)?.address ?? "", req.headers.get("x-forwarded-for"));
      known.set(req, client);
      return client;
    },
  };
}

/** What this machine calls itself. */
const ownNames = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/** Headers by which proxies say that a request came through them. */
const forwarding =
  /^(?:via|forwarded|x-forwarded(?:-.+)?|x-(?:real|client|original|cluster|envoy)-.+|(?:true-client|cf-connecting)-ip|cdn-loop)$/;

/**
 * Whether a request seems to come from this machine itself. A proxy that runs on it is known by its headers only, if it adds
 * any. A page in a browser on it that has given its own name our address could read the answer (DNS rebinding), but cannot hide
 * that name.
 */
export function isOwn(peer: string, headers: Headers): boolean {
  const isForwarded = headers.keys().some((name) => forwarding.test(name));
  // HTTP/1.0 needs no Host, and browsers do not speak it.
  const isNamed = ownNames.test(headers.get("host") ?? "localhost");
  return rangeOf(peer) === "loopback" && isNamed && !isForwarded;
}

/** Some proxies add the port: `192.0.2.1:5678`, `[2001:db8::1]:443`. */
function withoutPort(entry: string): string {
  const [, six, four] = /^(?:\[([^\]]*)\](?::\d{1,5})?|([\d.]+):\d{1,5})$/.exec(entry) ?? [];
  return six ?? four ?? entry;
}

function parse(text: string): Client | undefined {
  const family = isIP(text);
  if (family === 4) return { address: text, key: text };
  return family === 6 ? parse6(text) : undefined;
}

function parse6(text: string): Client {
  // A zone (`fe80::1%eth0`) may be any text, and says nothing about who it is.
  const six = ipaddr.IPv6.parse(text.replace(/%.*$/s, ""));
  if (six.isIPv4MappedAddress()) {
    const four = six.toIPv4Address().toString();
    return { address: four, key: four };
  }
  // Whoever has one IPv6 address mostly has the whole network of 2^64 (RFC 4291 2.5.4).
  const network = six.parts.slice(0, 4).map((part) => part.toString(16));
  return { address: six.toRFC5952String(), key: `${network.join(":")}::/64` };
}

/** The kind of network that an address is of, as `ipaddr.js` names it; an IPv4 address in IPv6 is what it stands for. */
function rangeOf(address: string): string {
  return ipaddr.isValid(address) ? ipaddr.process(address).range() : "";
}

/** A peer that is gone already has no address: what comes from such ones is counted together. */
function unknown(peer: string): Client {
  return { address: peer, key: peer };
}
