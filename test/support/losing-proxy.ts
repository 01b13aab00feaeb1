import { connect, createServer, type Socket } from "node:net";
import { listen } from "./loopback.ts";

/** A network that loses an answer on its way: the service has sent it, and the client has nothing of it. */
export interface LosingProxy {
  readonly url: string;
  /** The request lines that have passed. */
  readonly requests: readonly string[];
  /**
   * Loses the next answer to a poll that contains the text, on a connection that has served before: swallows it and resets
   * the connection. Resolves with the request line. A browser then repeats the request by itself, on another connection.
   */
  lose(text: string): Promise<string>;
  /** Makes sure that `fetch` has so many connections here that have served and are open. */
  serve(connections: number): Promise<void>;
  /** Holds websockets back, so that clients go on polling. */
  holdWebSockets(): void;
  releaseWebSockets(): void;
}

export async function losingProxy(to: string): Promise<LosingProxy> {
  const port = Number(new URL(to).port);
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const served = new Set<Socket>();
  let losing: { text: string; lost: (line: string) => void } | undefined;
  let held: (() => void)[] | undefined;

  function pass(client: Socket, first: Buffer): void {
    const upstream = connect(port, "127.0.0.1");
    let line = "";
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    const send = (data: Buffer): void => {
      const [found = ""] = /^(GET|POST|OPTIONS) \S+/.exec(data.toString("latin1")) ?? [];
      if (found !== "") requests.push((line = found));
      upstream.write(data);
    };
    client.on("data", send);
    upstream.on("data", (data) => {
      if (losing !== undefined && served.has(client) && line.startsWith("GET ") && data.includes(losing.text)) {
        losing.lost(line);
        losing = undefined;
        client.resetAndDestroy();
        upstream.destroy();
        return;
      }
      served.add(client);
      client.write(data);
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => {
        sockets.delete(socket);
        served.delete(socket);
        end();
      });
    }
    send(first);
  }

  const server = createServer((client) => {
    client.on("error", () => {});
    client.once("data", (first: Buffer) => {
      if (held === undefined || !/^upgrade: websocket/im.test(first.toString("latin1"))) return pass(client, first);
      client.pause();
      held.push(() => {
        if (client.destroyed) return;
        pass(client, first);
        client.resume();
      });
    });
  });
  const url = await listen(server, () => sockets.forEach((socket) => socket.destroy()));

  async function serve(connections: number): Promise<void> {
    const ask = async (): Promise<string> => (await fetch(`${url}/health/live`)).text();
    // Those that are asked for at the same time, and not answered before the last of them, have one connection each.
    for (let more = connections; served.size < connections; more++)
      await Promise.all(Array.from({ length: more }, ask));
  }

  return {
    url,
    requests,
    serve,
    lose: (text) => new Promise((lost) => (losing = { text, lost })),
    holdWebSockets: () => void (held ??= []),
    releaseWebSockets() {
      const waiting = held ?? [];
      held = undefined;
      for (const release of waiting) release();
    },
  };
}
