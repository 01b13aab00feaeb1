import { dlopen } from "bun:ffi";
import { readdirSync, readFileSync } from "node:fs";
import type { Events } from "../observe/events.ts";

/** Connections that the kernel has opened and the service has not taken yet: as many as it lets wait. Bun asks for 512. */
const wanted = 65_535;
/** What the kernel allows unless it is told otherwise, since Linux 5.4. */
const usual = 4096;

/**
 * Makes room for everybody who comes back at once after a restart: where the queue is full, the kernel drops a client's first
 * packet, and the client repeats it after 1, 3 and 7 seconds. `listen(2)` on a socket that listens sets the length anew, which
 * Bun has no option for. (`reusePort`, which has another queue, would let a second process in on the same port.) To be called
 * for each `Bun.serve`. Where it fails the service runs as before, and the log says so.
 */
export function widenAcceptQueue(
  { port }: { readonly port: number | undefined },
  events: Pick<Events["requests"], "acceptQueueShort" | "acceptQueueUnchanged">,
): void {
  if (process.platform !== "linux" || port === undefined) return;
  try {
    if (!listenAgain(port)) return events.acceptQueueUnchanged(`no socket listens on port ${port}`);
  } catch (error) {
    return events.acceptQueueUnchanged(error instanceof Error ? error.message : "unknown reason");
  }
  const most = longestQueue();
  if (most < usual) events.acceptQueueShort(most);
}

/** On each descriptor with this port, of which only those that listen take it: the others are connections. */
function listenAgain(port: number): boolean {
  // By this name musl, too, gives itself.
  const { symbols, close } = dlopen("libc.so.6", {
    getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    listen: { args: ["i32", "i32"], returns: "i32" },
  });
  try {
    const address = Buffer.alloc(128);
    const isOurs = (descriptor: number): boolean => {
      const length = new Uint32Array([address.length]);
      // In both families the port comes third, in network order (ip(7), ipv6(7)).
      return symbols.getsockname(descriptor, address, length) === 0 && address.readUInt16BE(2) === port;
    };
    const ours = readdirSync("/proc/self/fd").map(Number).filter(isOurs);
    return ours.filter((descriptor) => symbols.listen(descriptor, wanted) === 0).length > 0;
  } finally {
    close();
  }
}

/** The kernel cuts each queue to this, without an error. Unknown where `/proc/sys` is hidden from services. */
function longestQueue(): number {
  try {
    return Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
  } catch {
    return Infinity;
  }
}
