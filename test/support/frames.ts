import { connect } from "node:net";
import { upgradeRequest } from "./raw.ts";

/** A frame that the server sent. `code` is that of a close frame that has one. */
export interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly code: number | undefined;
}

/** A websocket below the level of frames: whatever is sent goes out as it is. Destroyed after the test by itself. */
export interface RawFrames {
  send(...bytes: Uint8Array[]): void;
  /** Rejects if the connection has ended. */
  next(): Promise<Frame>;
  /** Everything that comes until the server ends the connection. */
  rest(): Promise<Frame[]>;
  /** Reads no more. */
  pause(): void;
  /** Ends the connection without a close frame. */
  cut(): void;
}

const open = new Set<{ destroy(): unknown }>();

/** Resolves when the upgrade is answered with 101, with Engine.IO's open packet already taken if there is no sid. */
export async function rawFrames(url: string, sid?: string): Promise<RawFrames> {
  const frames: Frame[] = [];
  let received = Buffer.alloc(0);
  let isUpgraded = false;
  let isOver = false;
  let wake = (): void => {};
  const upgraded = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  open.add(socket);
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (!isUpgraded) {
      const end = received.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = received.subarray(0, end).toString("latin1");
      if (!head.startsWith("HTTP/1.1 101 ")) return upgraded.reject(new Error(head));
      isUpgraded = true;
      received = received.subarray(end + 4);
      upgraded.resolve();
    }
    for (let taken = take(received); taken !== undefined; taken = take(received)) {
      frames.push(taken.frame);
      received = received.subarray(taken.length);
    }
    wake();
  });
  // A reset is an end like any other here.
  socket.on("error", () => {});
  socket.on("close", () => {
    isOver = true;
    over.resolve();
    upgraded.reject(new Error("the connection was closed"));
    wake();
  });
  socket.write(upgradeRequest({ sid }));
  await upgraded.promise;

  async function next(): Promise<Frame> {
    for (;;) {
      const frame = frames.shift();
      if (frame !== undefined) return frame;
      if (isOver) throw new Error("the connection has ended");
      await new Promise<void>((resolve) => (wake = resolve));
    }
  }

  async function rest(): Promise<Frame[]> {
    await over.promise;
    return frames.splice(0);
  }

  if (sid === undefined) await next();
  return {
    send: (...bytes) => void socket.write(Buffer.concat(bytes)),
    next,
    rest,
    pause: () => void socket.pause(),
    cut: () => void socket.destroy(),
  };
}

/** The first frame, if it is complete. Servers do not mask (RFC 6455 5.1). */
function take(data: Buffer): { frame: Frame; length: number } | undefined {
  if (data.length < 2) return undefined;
  const short = data.readUInt8(1);
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (data.length < start) return undefined;
  const length = start + (short < 126 ? short : short === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2)));
  if (data.length < length) return undefined;
  const opcode = data.readUInt8(0) & 15;
  const payload = data.subarray(start, length);
  return {
    frame: { opcode, payload, code: opcode === 8 && payload.length > 1 ? payload.readUInt16BE(0) : undefined },
    length,
  };
}

export function closeFrames(): void {
  for (const socket of open) socket.destroy();
  open.clear();
}
