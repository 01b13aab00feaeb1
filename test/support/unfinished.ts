import { connect, type Socket } from "node:net";
import { until } from "./raw.ts";

/** A request that is written by hand, piece by piece. Destroyed after the test by itself. */
export interface Unfinished {
  send(bytes: string | Uint8Array): void;
  /** What has come until now, as Latin-1. */
  readonly text: string;
  readonly isClosed: boolean;
  /** Resolves with all that was answered when the server has closed the connection. */
  readonly closed: Promise<string>;
  /** Resolves with what has come as soon as it matches. */
  said(pattern: RegExp): Promise<string>;
  /** Ends the connection as a client does that dies. */
  cut(): void;
}

const open = new Set<Socket>();

export function closeUnfinished(): void {
  for (const socket of open) socket.destroy();
  open.clear();
}

/** @param head the request line and headers, without the empty line behind them. */
export function begin(url: string, head: readonly string[], body: string | Uint8Array = ""): Unfinished {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  open.add(socket);
  const { promise: closed, resolve } = Promise.withResolvers<string>();
  let text = "";
  let isClosed = false;
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  // A reset is an end like any other here.
  socket.on("error", () => {});
  socket.on("close", () => {
    isClosed = true;
    resolve(text);
  });
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  socket.write(body);
  return {
    send: (bytes) => void socket.write(bytes),
    get text() {
      return text;
    },
    get isClosed() {
      return isClosed;
    },
    closed,
    async said(pattern) {
      await until(`an answer like ${pattern}`, () => pattern.test(text));
      return text;
    },
    cut: () => void socket.destroy(),
  };
}

/** One chunk of a body in chunks. */
export const chunk = (data: string): string => `${data.length.toString(16)}\r\n${data}\r\n`;
