import { connect, type Socket } from "node:net";
import * as v from "valibot";

/** How long it is worth waiting for an event, so that a failure tells what has not come. Less than `--timeout` in package.json. */
export const patience_ms = 60_000;
const separator = "\u001e";
const open = new Set<{ close(): unknown }>();

/** Ends what the test has left open. A polling session that nobody ends would hold up the end of the service. */
export async function closeRaws(): Promise<void> {
  await Promise.all([...open].map((one) => one.close()));
  open.clear();
}

/** Asks until it is so: for what the other side does in its own time. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline_ms = performance.now() + patience_ms;
  while (!(await isSo())) {
    if (performance.now() > deadline_ms) throw new Error(`not within ${patience_ms} ms: ${what}`);
    await Bun.sleep(2);
  }
}

/** The value of a metric; one with labels is named with them, as it stands in the exposition, and is 0 until it counts. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  if (!text.includes(`# TYPE ${name.replace(/\{.*/, "")} `)) throw new Error(`there is no metric ${name}`);
  return Number(new RegExp(`^${RegExp.escape(name)} (\\S+)$`, "m").exec(text)?.[1] ?? 0);
}

export const noSessions = (url: string): Promise<void> =>
  until("no session is left", async () => (await metric(url, "amper_sessions")) === 0);

const Opened = v.strictObject({
  sid: v.string(),
  upgrades: v.array(v.string()),
  pingInterval: v.number(),
  pingTimeout: v.number(),
  maxPayload: v.number(),
});
export type Opened = v.InferOutput<typeof Opened>;

/** Reads an Engine.IO open packet, which has exactly these members. */
export function parseOpen(packet: string): Opened {
  if (!packet.startsWith("0")) throw new Error(`not an open packet: ${packet}`);
  return v.parse(Opened, JSON.parse(packet.slice(1)));
}

export const engineUrl = (url: string, transport: "polling" | "websocket", sid?: string): string =>
  `${url}/socket.io/?EIO=4&transport=${transport}${sid === undefined ? "" : `&sid=${sid}`}`;

/** The headers of a websocket upgrade, for asking with `fetch` how it is refused. */
export const upgradeHeaders = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
} as const;

/** The same with a request line, for a connection that is written by hand. */
export function upgradeRequest({ sid, headers = {} }: { sid?: string | undefined; headers?: object } = {}): string {
  const { pathname, search } = new URL(engineUrl("http://x", "websocket", sid));
  const lines = Object.entries({ Host: "127.0.0.1", ...upgradeHeaders, ...headers }).map((line) => line.join(": "));
  return `GET ${pathname}${search} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
}

/** An Engine.IO connection that is spoken by hand. */
export interface Raw {
  readonly sid: string;
  /** Sends packets in one go: on polling in one body. */
  send(...packets: (string | Uint8Array)[]): Promise<void>;
  /** The next packet. Rejects if the connection has ended. */
  next(): Promise<string>;
  /** Resolves as soon as the server has ended the connection, with what came until then and was not asked for. */
  ended(): Promise<string[]>;
}

export interface RawWebSocket extends Omit<Raw, "sid"> {
  close(): void;
}

/** A bare websocket. Resolves when it is open, rejects if it is refused. Closed after the test by itself. */
export async function rawWebSocket(address: string): Promise<RawWebSocket> {
  const ws = new WebSocket(address.replace(/^http/, "ws"));
  ws.binaryType = "arraybuffer";
  const packets: string[] = [];
  let isOver = false;
  let wake = (): void => {};
  const opening = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  ws.addEventListener("open", () => opening.resolve());
  ws.addEventListener("message", ({ data }: { data: unknown }) => {
    packets.push(typeof data === "string" ? data : "(binary)");
    wake();
  });
  ws.addEventListener("close", () => {
    isOver = true;
    opening.reject(new Error("the websocket was refused"));
    over.resolve();
    wake();
  });
  open.add(ws);
  await opening.promise;

  async function next(): Promise<string> {
    for (;;) {
      const packet = packets.shift();
      if (packet !== undefined) return packet;
      if (isOver) throw new Error("the websocket has ended");
      await new Promise<void>((resolve) => (wake = resolve));
    }
  }

  async function ended(): Promise<string[]> {
    await over.promise;
    return packets.splice(0);
  }

  function send(...all: (string | Uint8Array)[]): Promise<void> {
    for (const packet of all) ws.send(typeof packet === "string" ? packet : new Uint8Array(packet));
    return Promise.resolve();
  }

  return { send, next, ended, close: () => ws.close() };
}

export interface RawPolling extends Raw {
  readonly opened: Opened;
  poll(signal?: AbortSignal): Promise<Response>;
  post(body: string | Uint8Array<ArrayBuffer> | ReadableStream): Promise<Response>;
}

export async function rawPolling(url: string, query = ""): Promise<RawPolling> {
  const opened = parseOpen(await (await fetch(engineUrl(url, "polling") + query)).text());
  const address = engineUrl(url, "polling", opened.sid);
  const packets: string[] = [];
  const poll = (signal?: AbortSignal) => fetch(address, signal === undefined ? {} : { signal });
  const post = (body: string | Uint8Array<ArrayBuffer> | ReadableStream) => fetch(address, { method: "POST", body });

  // It may have ended already, and the service too.
  open.add({ close: () => post("1").catch(() => undefined) });

  /** Waits for more. False if the session is gone. */
  async function more(): Promise<boolean> {
    const response = await poll();
    const text = await response.text();
    if (response.status === 200) packets.push(...text.split(separator));
    return response.status === 200;
  }

  async function next(): Promise<string> {
    for (;;) {
      const packet = packets.shift();
      if (packet !== undefined) return packet;
      if (!(await more())) throw new Error("the session has ended");
    }
  }

  async function ended(): Promise<string[]> {
    while (await more());
    // 1 and 6 end a poll that waits: how polling says goodbye, and nothing that a page would see.
    return packets.splice(0).filter((packet) => packet !== "1" && packet !== "6");
  }

  async function send(...all: (string | Uint8Array)[]): Promise<void> {
    const body = all.map((packet) =>
      typeof packet === "string" ? packet : `b${Buffer.from(packet).toString("base64")}`,
    );
    await (await post(body.join(separator))).text();
  }

  return { sid: opened.sid, opened, poll, post, send, next, ended };
}

/** An Engine.IO connection on either transport, its open packet already taken. */
export const raws = {
  websocket: async (url: string, query = ""): Promise<Raw> => {
    const ws = await rawWebSocket(engineUrl(url, "websocket") + query);
    return { ...ws, sid: parseOpen(await ws.next()).sid };
  },
  polling: (url: string, query = ""): Promise<Raw> => rawPolling(url, query),
} as const;

/** An HTTP answer as it came over the wire. */
export interface Answer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export interface Talk {
  /** Everything that came, as Latin-1. */
  readonly text: string;
  readonly answers: readonly Answer[];
  /** Whether the server ended the connection. */
  readonly closed: boolean;
}

export interface TalkOptions {
  /** Leave as soon as so many answers are complete. */
  readonly enough?: number;
  /** End the connection right after the bytes, as a client that dies does. */
  readonly cut?: boolean;
  /** Leave when this is over, too: the server may wait for the rest of something. */
  readonly leaveAfter?: () => Promise<unknown>;
  /** The address of loopback to call from: for the server, another client. */
  readonly from?: string;
}

/** Writes bytes to a fresh TCP connection, as they are, and listens. */
export function talk(url: string, bytes: string | Uint8Array, options: TalkOptions = {}): Promise<Talk> {
  const { enough = 1, cut = false, leaveAfter, from: localAddress } = options;
  const data = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
  const isHead = Buffer.from(data.subarray(0, 5)).toString() === "HEAD ";
  const { promise, resolve, reject } = Promise.withResolvers<Talk>();
  let text = "";
  const target = { port: Number(new URL(url).port), host: "127.0.0.1", ...(localAddress && { localAddress }) };
  const socket: Socket = connect(target, () => {
    if (cut) socket.end(data);
    else socket.write(data);
    if (leaveAfter !== undefined) void leaveAfter().then(() => finish(false), reject);
  });
  const finish = (closed: boolean) => {
    resolve({ text, answers: parseAnswers(text, isHead), closed });
    socket.destroy();
  };
  socket.setTimeout(patience_ms, () => {
    reject(new Error(`neither an answer nor an end within ${patience_ms} ms, only ${JSON.stringify(text)}`));
    socket.destroy();
  });
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (!cut && parseAnswers(text, isHead).length >= enough) finish(false);
  });
  // A reset is an end like any other here.
  socket.on("error", () => finish(true));
  socket.on("close", () => finish(true));
  return promise;
}

/**
 * Resolves when the server has read what was sent to it before, and what it answers to that at once is here: it has answered two
 * requests since, the second asked after the answer to the first.
 */
export async function handled(url: string): Promise<void> {
  for (let i = 0; i < 2; i++) await (await fetch(`${url}/health/live`)).text();
}

/** The answers that are complete. */
export function parseAnswers(text: string, isHead: boolean): Answer[] {
  const answers: Answer[] = [];
  for (let rest = text; ;) {
    const end = rest.indexOf("\r\n\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(rest)?.[1]);
    if (end < 0 || Number.isNaN(status)) return answers;
    const lines = rest.slice(0, end).split("\r\n").slice(1);
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
    );
    const hasBody = !isHead && status >= 200 && status !== 204 && status !== 304;
    const length = hasBody ? Number(headers.get("content-length") ?? 0) : 0;
    if (rest.length < end + 4 + length) return answers;
    answers.push({ status, headers, body: rest.slice(end + 4, end + 4 + length) });
    rest = rest.slice(end + 4 + length);
  }
}

/** A websocket frame (RFC 6455 5.2), well-formed or not: as a client sends it unless told otherwise. */
export function frame(
  opcode: number,
  payload: string | Uint8Array,
  options: { fin?: boolean; reserved?: number; masked?: boolean; declared?: number } = {},
): Uint8Array {
  const data = Buffer.from(payload);
  const { fin = true, reserved = 0, masked = true, declared = data.length } = options;
  const head = Buffer.alloc(10);
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = (masked ? 0x80 : 0) | (declared < 126 ? declared : declared < 65_536 ? 126 : 127);
  if (declared >= 65_536) head.writeBigUInt64BE(BigInt(declared), 2);
  else if (declared >= 126) head.writeUInt16BE(declared, 2);
  const length = declared < 126 ? 2 : declared < 65_536 ? 4 : 10;
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([head.subarray(0, length), Buffer.alloc(masked ? 4 : 0), data]);
}
