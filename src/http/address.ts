/**
 * The client's address. Every proxy appends the address it was called from to X-Forwarded-For, so with N trusted proxies
 * the N-th entry from the right is the client's; all that stands left of it came from the client and proves nothing.
 */
export function clientAddress(peer: string, forwardedFor: string | null, trustProxyHops: number): string {
  if (trustProxyHops === 0 || forwardedFor === null) return peer;
  const hops = forwardedFor.split(",").map((hop) => hop.trim());
  return hops[Math.max(0, hops.length - trustProxyHops)] ?? peer;
}

/** Whether a request comes from this machine itself, and not from somebody behind a proxy that runs on it. */
export function isLoopback(peer: string, headers: Headers): boolean {
  const forwarded = headers.has("x-forwarded-for") || headers.has("forwarded") || headers.has("x-real-ip");
  return !forwarded && (peer === "::1" || /^(::ffff:)?127\./.test(peer));
}
