import { readdirSync, readFileSync } from "node:fs";
import type { Events } from "../observe/events.ts";
import { openSockets } from "./sockets.ts";

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

/** On each descriptor of this port, of which only those that listen take it: the others are connections. */
function listenAgain(port: number): boolean {
  const sockets = openSockets();
  try {
    const ours = readdirSync("/proc/self/fd")
      .map(Number)
      .filter((descriptor) => sockets.portOf(descriptor) === port);
    return ours.filter((descriptor) => sockets.listen(descriptor, wanted)).length > 0;
  } finally {
    sockets.close();
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
