import ipaddr from "ipaddr.js";

/** Whether a service that listens on this `host` can be reached from its own machine only. */
export function isLoopback(host: string): boolean {
  // RFC 6761 6.3. Any other name may be changed to lead elsewhere.
  if (host.toLowerCase() === "localhost") return true;
  return ipaddr.isValid(host) && ipaddr.process(host).range() === "loopback";
}
