// One page, as cheap as possible: Engine.IO 4 and Socket.IO 5 by hand over a raw TCP socket (RFC 6455), so that the load
// is never the bottleneck of what it measures.
import type { Socket } from "bun";
import { frame, upgradeRequest } from "../support/raw.ts";

/** What a page is to say in its CONNECT packet; our server checks it, the two others only read the names in it. */
export interface Identity {
  readonly token?: string;
  readonly keycloakID: string;
  readonly channel: string;
  /** Of an earlier connection: what is missed since then is replayed. */
  readonly pid?: string;
}

export interface OpenPage {
  readonly close: () => void;
  /** What the server calls this line of connections; only ours does. */
  readonly pid: string | undefined;
}

export interface PageEvents {
  /** A notification that begins with `{"n":` and seven digits has arrived; `n` is that number. */
  readonly notified: (n: number) => void;
  /** The server refused or lost the page: the measurement is void. */
  readonly failed: (reason: string) => void;
}

interface Page {
  readonly identity: Identity;
  /** Called with the payload of CONNECT. */
  readonly connected: (payload: string) => void;
  upgraded: boolean;
  leaving: boolean;
  /** Bytes of a frame that is not complete yet. */
  rest: Buffer | undefined;
}

const TEXT = 1;
const PING = 9;
const [ZERO, TWO, FOUR, LOWER_N] = [0x30, 0x32, 0x34, 0x6e];
const NUMBER_AT = '42["notification",{"n":'.length;
const NUMBER_DIGITS = 7;

const PONG = frame(TEXT, "3");

/** The headers that browsers add: a server has to read them, too. */
function handshake(port: number): string {
  const headers = {
    Host: `127.0.0.1:${port}`,
    Origin: `http://127.0.0.1:${port}`,
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "en-US,en;q=0.5",
  };
  return upgradeRequest({ headers });
}

/** The number of a notification, read in place: decoding each frame would cost more than receiving it. */
function numberOf(bytes: Buffer, start: number): number {
  let n = 0;
  for (let at = start; at < start + NUMBER_DIGITS; at++) n = n * 10 + bytes.readUInt8(at) - ZERO;
  return n;
}

/** Pages on one server: `open` resolves when the server has answered CONNECT. */
export function createPages(port: number, events: PageEvents) {
  const request = handshake(port);

  function text(socket: Socket<Page>, bytes: Buffer, start: number, end: number): void {
    const kind = end > start ? bytes[start] : undefined;
    const inner = end > start + 1 ? bytes[start + 1] : undefined;
    if (kind === FOUR && inner === TWO) {
      if (bytes[start + 4] === LOWER_N) events.notified(numberOf(bytes, start + NUMBER_AT));
    } else if (kind === TWO) socket.write(PONG);
    else if (kind === ZERO) socket.write(frame(TEXT, `40${JSON.stringify(socket.data.identity)}`));
    else if (kind === FOUR && inner === ZERO) socket.data.connected(bytes.toString("utf8", start + 2, end));
    else events.failed(`unexpected packet ${bytes.toString("utf8", start, end)}`);
  }

  /** Reads every complete frame and returns where the first incomplete one begins. A server never masks. */
  function frames(socket: Socket<Page>, bytes: Buffer): number {
    let at = 0;
    while (bytes.length - at >= 2) {
      const opcode = bytes.readUInt8(at) & 15;
      const short = bytes.readUInt8(at + 1);
      if (short === 127) throw new Error("a frame of more than 65,535 bytes");
      if (short === 126 && bytes.length - at < 4) break;
      const start = at + (short === 126 ? 4 : 2);
      const end = start + (short === 126 ? bytes.readUInt16BE(at + 2) : short);
      if (bytes.length < end) break;
      if (opcode === TEXT) text(socket, bytes, start, end);
      else if (opcode === PING) socket.write(frame(10, bytes.subarray(start, end)));
      else events.failed(`unexpected frame ${opcode}`);
      at = end;
    }
    return at;
  }

  function received(socket: Socket<Page>, chunk: Buffer): void {
    const page = socket.data;
    const bytes = page.rest === undefined ? chunk : Buffer.concat([page.rest, chunk]);
    let at = 0;
    if (!page.upgraded) {
      const end = bytes.indexOf("\r\n\r\n");
      if (end >= 0) {
        if (bytes.toString("latin1", 9, 12) !== "101") events.failed(`no upgrade: ${bytes.toString("utf8")}`);
        page.upgraded = true;
        at = end + 4;
      }
    }
    if (page.upgraded) at += frames(socket, bytes.subarray(at));
    // A copy, because the chunk belongs to the runtime after this call.
    page.rest = at < bytes.length ? Buffer.from(bytes.subarray(at)) : undefined;
  }

  const handlers = {
    open: (socket: Socket<Page>) => void socket.write(request),
    data: received,
    close: (socket: Socket<Page>) => {
      if (!socket.data.leaving) events.failed("the server closed a connection");
    },
    error: (_: Socket<Page>, error: Error) => events.failed(error.message),
  };

  return {
    async open(identity: Identity): Promise<OpenPage> {
      const { promise, resolve } = Promise.withResolvers<string>();
      const data: Page = { identity, connected: resolve, upgraded: false, leaving: false, rest: undefined };
      const socket = await Bun.connect<Page>({ hostname: "127.0.0.1", port, data, socket: handlers });
      const pid = /"pid":"([^"]+)"/.exec(await promise)?.[1];
      const close = () => {
        data.leaving = true;
        socket.end();
      };
      return { close, pid };
    },
  };
}
