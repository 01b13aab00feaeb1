import { connect, createServer, type Socket } from "node:net";
import { listen } from "../support/loopback.ts";

/** A network between a page and the service, to which happens what happens to networks. Closed after the test by itself. */
export interface Network {
  readonly url: string;
  /** Ends every connection: what is on its way is lost. Those that come afterwards get through. */
  cut(): void;
  /** Cuts, and lets no connection through until `heal`. */
  close(): void;
  /** Lets nothing through, in either direction, until `heal`. */
  stall(): void;
  /** What goes through arrives so much later, in order, until `heal`. */
  delay(ms: number): void;
  /** Ends one direction of every connection, and leaves the other open. */
  halfClose(towards: "page" | "service"): void;
  /**
   * Loses the next answer to a poll on a connection that has served before: swallows it, and resets the connection. A browser
   * then repeats the poll by itself, byte by byte.
   */
  loseAnswer(): void;
  heal(): void;
  /** The answers that were lost. */
  readonly lost: number;
}

interface Pair {
  readonly page: Socket;
  readonly service: Socket;
  hasServed: boolean;
  isPolling: boolean;
}

export async function network(port: number): Promise<Network> {
  const pairs = new Set<Pair>();
  let stalled: PromiseWithResolvers<void> | undefined;
  let [isClosed, isLosing, delay_ms, lost] = [false, false, 0, 0];

  /** Passes on what comes, in order, and then the end. */
  function pass(from: Socket, to: Socket, intercept: (data: Buffer) => boolean): void {
    let before = Promise.resolve();
    async function after(earlier: Promise<void>, act: () => void): Promise<void> {
      const came_ms = performance.now();
      await earlier;
      await stalled?.promise;
      const rest_ms = came_ms + delay_ms - performance.now();
      if (rest_ms > 0) await Bun.sleep(rest_ms);
      act();
    }
    const then = (act: () => void): void => void (before = after(before, act));
    from.on("data", (data: Buffer) => then(() => void (to.writable && !intercept(data) && to.write(data))));
    from.on("end", () => then(() => to.end()));
    from.on("close", () => then(() => to.end()));
    from.on("error", () => {});
  }

  function destroy({ page, service }: Pair): void {
    page.resetAndDestroy();
    service.resetAndDestroy();
  }

  const server = createServer({ allowHalfOpen: true }, (page) => {
    page.on("error", () => {});
    if (isClosed) {
      page.resetAndDestroy();
      return;
    }
    const service = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const pair: Pair = { page, service, hasServed: false, isPolling: false };
    pairs.add(pair);
    pass(page, service, (data) => {
      const text = data.toString("latin1");
      if (/^[A-Z]+ /.test(text)) pair.isPolling = /^GET \S+transport=polling/.test(text);
      return false;
    });
    pass(service, page, () => {
      if (isLosing && pair.hasServed && pair.isPolling) {
        isLosing = false;
        lost++;
        destroy(pair);
        return true;
      }
      pair.hasServed = true;
      return false;
    });
    page.on("close", () => void (service.destroyed && pairs.delete(pair)));
    service.on("close", () => void (page.destroyed && pairs.delete(pair)));
  });
  const cut = (): void => pairs.forEach(destroy);
  return {
    url: await listen(server, cut),
    cut,
    close() {
      isClosed = true;
      cut();
    },
    stall: () => void (stalled ??= Promise.withResolvers()),
    delay: (ms) => void (delay_ms = ms),
    halfClose: (towards) => pairs.forEach((pair) => pair[towards].end()),
    loseAnswer: () => void (isLosing = true),
    heal() {
      [isClosed, delay_ms] = [false, 0];
      stalled?.resolve();
      stalled = undefined;
    },
    get lost() {
      return lost;
    },
  };
}
