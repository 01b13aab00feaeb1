import { readdirSync } from "node:fs";
import { openSockets } from "./sockets.ts";

/**
 * Opens a second socket on the port of one that listens, to which the kernel brings every connection from then on, so that
 * there is no moment without a listener. What waits at the first is taken there. Throws if it cannot be opened, and the first
 * goes on as before.
 *
 * `isAlone`: the first gets no connection any more. Otherwise the kernel has no way to tell it so, and it gets some.
 *
 * @param open with `reusePort`. (The first gets the same only here: from the start, it would let a second process in on its port.)
 */
export function openBeside<T>(port: number, open: () => T): { readonly opened: T; readonly isAlone: boolean } {
  if (process.platform !== "linux") throw new Error("only Linux lets two sockets share a port in this way");
  const sockets = openSockets();
  const listening = () =>
    readdirSync("/proc/self/fd")
      .map(Number)
      .filter((descriptor) => sockets.portOf(descriptor) === port && sockets.isListening(descriptor));
  try {
    const before = listening();
    for (const descriptor of before) sockets.sharePort(descriptor);
    const opened = open();
    const added = listening().find((descriptor) => !before.includes(descriptor));
    return { opened, isAlone: added !== undefined && sockets.steer(added, before.length) };
  } finally {
    sockets.close();
  }
}
