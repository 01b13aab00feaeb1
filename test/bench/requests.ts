// HTTP/1.1 with keep-alive by hand: a backend that calls `/notify` holds its connections, and `fetch` would cost the
// load generator more than the server spends on the call.

import type { Socket } from "bun";

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface Requests {
  /** One request at a time per connection, like any HTTP/1.1 client without pipelining. */
  readonly send: (method: string, path: string, headers: Record<string, string>, body?: string) => Promise<Answer>;
  readonly close: () => void;
}

/** The complete answer at the beginning of `bytes`, or undefined while some of it is under way. */
function answerIn(bytes: Buffer): Answer | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = bytes.toString("latin1", 0, end);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length === undefined) throw new Error(`an answer without Content-Length: ${head}`);
  if (bytes.length < end + 4 + Number(length)) return undefined;
  return { status: Number(head.slice(9, 12)), body: bytes.toString("utf8", end + 4, end + 4 + Number(length)) };
}

/** One keep-alive connection, opened by the first request. To be closed before the server finds it idle. */
export function createRequests(port: number): Requests {
  let socket: Socket | undefined;
  let pending: PromiseWithResolvers<Answer> | undefined;
  let received: Buffer | undefined;

  function ended(reason: string): void {
    socket = undefined;
    received = undefined;
    pending?.reject(new Error(reason));
    pending = undefined;
  }

  const handlers = {
    data: (_: Socket, chunk: Buffer) => {
      received = received === undefined ? Buffer.from(chunk) : Buffer.concat([received, chunk]);
      const answer = answerIn(received);
      if (answer === undefined) return;
      received = undefined;
      pending?.resolve(answer);
      pending = undefined;
    },
    close: () => ended("the server closed an HTTP connection before its answer"),
    error: (_: Socket, error: Error) => ended(error.message),
  };

  return {
    send: async (method, path, headers, body = "") => {
      socket ??= await Bun.connect({ hostname: "127.0.0.1", port, socket: handlers });
      const lines = [`${method} ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`];
      for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
      if (body !== "") lines.push(`Content-Length: ${Buffer.byteLength(body)}`);
      pending = Promise.withResolvers<Answer>();
      const { promise } = pending;
      socket.write(`${lines.join("\r\n")}\r\n\r\n${body}`);
      return promise;
    },
    close: () => void socket?.end(),
  };
}
