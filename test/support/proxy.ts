import { connect, createServer, type Server, type Socket } from "node:net";
import { listen } from "./loopback.ts";

/** A network between a client and the service that can be cut and can stall. */
export interface Proxy {
  readonly url: string;
  /** Ends every connection that goes through it: what is on its way is lost. Those that come afterwards get through. */
  cut(): void;
  /** Lets nothing more through to the client until `resume` or `cut`. */
  stall(): void;
  resume(): void;
}

export async function proxy(port: number): Promise<Proxy> {
  let stalled = false;
  const pairs = new Set<readonly [client: Socket, upstream: Socket]>();
  const server: Server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, pair.toReversed()] as const) {
      from.on("data", (data) => to.write(data));
      from.on("error", () => {});
      // What the other has still to get, it gets.
      from.on("close", () => {
        if (to.destroyed) pairs.delete(pair);
        to.end();
      });
    }
    if (stalled) upstream.pause();
  });
  const cut = (): void => {
    stalled = false;
    for (const [client, upstream] of pairs) {
      client.destroy();
      upstream.destroy();
    }
  };
  return {
    url: await listen(server, cut),
    cut,
    stall() {
      stalled = true;
      for (const [, upstream] of pairs) upstream.pause();
    },
    resume() {
      stalled = false;
      for (const [, upstream] of pairs) upstream.resume();
    },
  };
}
