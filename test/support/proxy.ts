import { connect, createServer, type Server, type Socket } from "node:net";

/** A network between a client and the service that can be cut and can stall. */
export interface Proxy {
  readonly url: string;
  /** Ends every connection that goes through it, as a lost network does: without a word. */
  cut(): void;
  /** Lets nothing more through to the client until `resume`. */
  stall(): void;
  resume(): void;
  to(port: number): void;
}

const open = new Set<() => void>();

export async function proxy(port: number): Promise<Proxy> {
  let target = port;
  let stalled = false;
  const pairs = new Set<readonly [client: Socket, upstream: Socket]>();
  const server: Server = createServer((client) => {
    const upstream = connect(target, "127.0.0.1");
    const pair = [client, upstream] as const;
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    client.on("data", (data) => upstream.write(data));
    upstream.on("data", (data) => client.write(data));
    if (stalled) upstream.pause();
    for (const socket of pair) {
      socket.on("error", end);
      socket.on("close", end);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  const cut = (): void => {
    for (const [client, upstream] of pairs) {
      client.destroy();
      upstream.destroy();
    }
  };
  open.add(() => {
    server.close();
    cut();
  });
  return {
    url: `http://127.0.0.1:${address.port}`,
    cut,
    stall() {
      stalled = true;
      for (const [, upstream] of pairs) upstream.pause();
    },
    resume() {
      stalled = false;
      for (const [, upstream] of pairs) upstream.resume();
    },
    to(newPort) {
      target = newPort;
    },
  };
}

export function closeProxies(): void {
  for (const close of open) close();
  open.clear();
}
