// One process of a flood: does what its one argument says, tells what came of it, and waits for its standard input to end.
import type { Socket } from "bun";
import * as v from "valibot";
import { Job, type Counts } from "./flood.ts";
import { frame, upgradeRequest } from "./raw.ts";

const job = v.parse(v.pipe(v.string(), v.parseJson(), Job), process.argv[2]);

const OPENING = 100;
const upgrade = upgradeRequest();
const handshake = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

const counts: Record<string, number> = {};
const count = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1);
const report = (): void => void process.stdout.write(`${JSON.stringify(counts satisfies Counts)}\n`);

let addresses = job.firstAddress;
const nextAddress = (): number => (job.isOne ? job.firstAddress : addresses++);
const end = new AbortController();

function addressOf(n: number): string {
  return `127.${1 + ((n >> 15) & 63)}.${(n >> 7) & 255}.${1 + (n & 127)}`;
}

const pong = frame(1, "3");

interface Talk {
  readonly kind: string;
  readonly first: string | Uint8Array | undefined;
  /** Judges what has come: what to count, when there is enough of it. */
  readonly enough: (text: string) => string | undefined;
  readonly stays: boolean;
  text: string;
  unsent: Uint8Array;
  isAnswered: boolean;
  readonly settled: () => void;
}

function answered(socket: Socket<Talk>): void {
  const own = socket.data;
  const answer = own.enough(own.text);
  if (answer === undefined) return;
  own.isAnswered = true;
  count(`${own.kind} ${answer}`);
  if (!own.stays) socket.end();
  own.settled();
}

function send(socket: Socket<Talk>): void {
  const own = socket.data;
  own.unsent = own.unsent.subarray(Math.max(0, socket.write(own.unsent)));
}

const handlers = {
  open(socket: Socket<Talk>) {
    send(socket);
    answered(socket);
  },
  drain: send,
  data(socket: Socket<Talk>, chunk: Buffer) {
    const own = socket.data;
    if (own.isAnswered) {
      // Its heartbeat; whatever else comes after the answer, nobody reads.
      if (own.kind === "session" && chunk.includes("\x012")) socket.write(pong);
      return;
    }
    own.text += chunk.toString("latin1");
    answered(socket);
  },
  close(socket: Socket<Talk>) {
    if (socket.data.stays) count(`${socket.data.kind} closed`);
    socket.data.settled();
  },
  error() {},
};

async function talk(from: number, about: Omit<Talk, "text" | "unsent" | "isAnswered" | "settled">): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const data: Talk = {
    ...about,
    text: "",
    unsent: Buffer.from(about.first ?? ""),
    isAnswered: false,
    settled: resolve,
  };
  const options = { hostname: "127.0.0.1", port: job.port, localAddress: addressOf(from) };
  try {
    await Bun.connect<Talk>({ ...options, data, socket: handlers });
    await promise;
  } catch {
    count(`${about.kind} refused`);
  }
}

const BODY = 60_000;
const filler = "x".repeat(BODY - 1);
const chunk = `${filler.length.toString(16)}\r\n${filler}\r\n`;
const post = (path: string, header: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${header}\r\n\r\n${body}`;
/** As long as a message may be by default. */
const MESSAGE = "4".repeat(8192);
const fragments = Array.from({ length: 80 }, (_, i) => frame(i === 0 ? 1 : 0, "4".repeat(100), { fin: false }));
const join = (...parts: (string | Uint8Array)[]): Uint8Array => Buffer.concat(parts.map((part) => Buffer.from(part)));

const statusOf = (text: string): string | undefined => /^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1];
const opened = (): string => "open";

const idle = {
  bare: { first: undefined, enough: opened, stays: true },
  half: { first: "GET /noti", enough: opened, stays: true },
  websocket: { first: upgrade, enough: statusOf, stays: true },
  session: { first: upgrade, enough: statusOf, stays: true },
  polling: { first: handshake, enough: statusOf, stays: false },
  late: { first: post("/notify", "Content-Length: 100", ""), enough: opened, stays: true },
  body: { first: post("/notify", `Content-Length: ${BODY}`, filler), enough: opened, stays: true },
  chunks: { first: post("/notify", "Transfer-Encoding: chunked", chunk), enough: opened, stays: true },
  data: {
    first: post("/socket.io/?EIO=4&transport=polling&sid=nobody", "Transfer-Encoding: chunked", chunk),
    enough: statusOf,
    stays: true,
  },
  message: {
    first: join(upgrade, frame(1, MESSAGE.slice(1), { declared: MESSAGE.length })),
    enough: statusOf,
    stays: true,
  },
  fragments: { first: join(upgrade, ...fragments), enough: statusOf, stays: true },
  head: { first: `GET /notify HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${"x".repeat(15_000)}`, enough: opened, stays: true },
} as const;

const guess = "guessed-0123456789-0123456789";
const jwt = `eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhbXBlci1jaGFubmVscyIsImNoYW5uZWxzIjoiKiJ9.${guess}`;
const body = JSON.stringify({ API_KEY: guess, msg: "spam", channel: "msf" });
const auth = JSON.stringify({ token: jwt, keycloakID: "alice", channel: "msf" });
/** Until there is the refusal of the CONNECT, or of the upgrade. */
const refusal = (text: string): string | undefined => {
  const status = statusOf(text);
  return status === "101" ? /44\{.*"code":"(\w+)"/.exec(text)?.[1] : status;
};

const guesses = [
  {
    kind: "authorize",
    first: `GET /authorize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${guess}\r\n\r\n`,
    enough: statusOf,
  },
  {
    kind: "authorize",
    first: `GET /authorize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${jwt}\r\n\r\n`,
    enough: statusOf,
  },
  {
    kind: "notify",
    first: `POST /notify HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    enough: statusOf,
  },
  {
    kind: "notify",
    first: `POST /notify HTTP/1.1\r\nHost: x\r\nX-API-Key: ${guess}\r\nContent-Length: 0\r\n\r\n`,
    enough: statusOf,
  },
  { kind: "connect", first: Buffer.concat([Buffer.from(upgrade), frame(1, `40${auth}`)]), enough: refusal },
] as const;

/** Guesses without a pause. Every second is from one of four addresses, which are soon known for it. */
async function guessOn(): Promise<void> {
  for (let i = 0; !end.signal.aborted; i++) {
    for (const one of guesses) {
      const from = i % 2 === 0 ? job.firstAddress + (i & 6) : addresses++;
      await talk(from, { ...one, stays: false });
    }
  }
}

const kinds = Array.from({ length: job.idle }, () => job.kinds)
  .flat()
  .values();
const opener = async (): Promise<void> => {
  for (const kind of kinds) await talk(nextAddress(), { kind, ...idle[kind] });
};
await Promise.all(Array.from({ length: OPENING }, opener));
report();
const guessing = Promise.all(Array.from({ length: job.guessers }, guessOn));
await Bun.stdin.text();
end.abort();
await guessing;
report();
process.exit(0);
