import { expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { createConnection } from "node:net";
import { base64url, mutateJwt, oddSignedJwt, type JwtParts, type Sign } from "./support/fuzz-jwt.ts";
import { encodeFrame, enginePacket, flawOfFrames, flawOfPacket, message, oddFrame } from "./support/fuzz-packets.ts";
import { addressOf, flawOf, fuzz, target } from "./support/fuzz.ts";
import {
  below,
  chance,
  membersOf,
  mutateBytes,
  mutateMembers,
  mutateText,
  objectOf,
  times,
} from "./support/mutations.ts";
import { pick, type Random } from "./support/random.ts";
import { engineUrl, handled, parseOpen, talk, upgradeRequest } from "./support/raw.ts";

/**
 * Whatever is sent over a websocket, or by polling, at the level of frames, of Engine.IO or of Socket.IO: it ends its own
 * session at most, and what comes back is what a stock client knows. SEED repeats a round, FUZZ_ROUNDS makes more of them.
 */

const tokenSecret = "a-token-secret-that-the-fuzzer-knows";
const sign: Sign = (text) => base64url(createHmac("sha256", tokenSecret).update(text).digest());

/** The executable, and what pages send it in their CONNECT: good, odd, and tampered with. */
async function prepare() {
  const prepared = await target({ AMPER_TOKEN_SECRET: tokenSecret });
  const { token } = prepared;
  const [header = "", payload = ""] = token.split(".");
  const parse = (part: string) => membersOf(Object(JSON.parse(Buffer.from(part, "base64url").toString())));
  const model: JwtParts = { header: parse(header), payload: parse(payload) };
  const good = objectOf(membersOf({ token, keycloakID: "stormy", channel: "storm" }));

  function auth(random: Random): string {
    if (chance(random, 0.3)) return good;
    const odd = chance(random, 0.5) ? oddSignedJwt(random, model, sign) : mutateJwt(random, token, good);
    const pid = `${"e".repeat(12)}-${below(random, 9)}.${"p".repeat(12)}.1.1`;
    const identity = {
      token: chance(random, 0.5) ? token : odd,
      keycloakID: pick(random, ["stormy", "f:ldap:ünï", "x".repeat(129)]),
      channel: pick(random, ["storm", "a.b", "nö"]),
      ...(chance(random, 0.3) && { pid: chance(random, 0.5) ? pid : mutateText(random, pid) }),
      ...(chance(random, 0.3) && { offset: mutateText(random, `${"e".repeat(12)}-1`) }),
    };
    const members = membersOf(identity);
    return objectOf(chance(random, 0.5) ? mutateMembers(random, members) : members);
  }

  return { ...prepared, good, auth };
}

/** How the server answers a CONNECT that it takes. */
const connect = '40{"sid":';

/** What a websocket says, and how. */
interface Speech {
  readonly pieces: readonly Uint8Array[];
  /** Nothing but a good CONNECT: it has to succeed. */
  readonly isValid: boolean;
}

const show = ({ pieces }: Speech): string =>
  JSON.stringify(pieces.map((piece) => Buffer.from(piece).toString("latin1")));

function upgradeOf(random: Random, sid?: string): Buffer {
  const compressed = { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" };
  return Buffer.from(upgradeRequest({ sid, headers: chance(random, 0.3) ? compressed : {} }));
}

function speechOf(random: Random, auth: (random: Random) => string, good: string): Speech["pieces"] {
  const packet = () => enginePacket(random, () => auth(random));
  const connected = chance(random, 0.5) ? [message(random, `40${good}`)] : [];
  const frames = times(below(random, 6), () => (chance(random, 0.6) ? message : oddFrame)(random, packet()));
  const bytes = Buffer.concat([...connected, ...frames]);
  const all = chance(random, 0.05) ? mutateBytes(random, bytes) : bytes;
  // Whole, or so that a frame comes in several reads.
  const cuts = chance(random, 0.7) ? [] : times(3, () => below(random, all.length + 1)).toSorted((a, b) => a - b);
  return [0, ...cuts].map((from, i) => all.subarray(from, cuts[i] ?? all.length));
}

/** Writes one piece after the other, and resolves with all that came until it was enough, or until the end. */
function converse(
  url: string,
  from: string,
  pieces: readonly Uint8Array[],
  { enough, leaveAfter }: { enough?: string; leaveAfter?: () => Promise<unknown> } = {},
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  const socket = createConnection({ port: Number(new URL(url).port), host: "127.0.0.1", localAddress: from }, () => {
    socket.setNoDelay(true);
    const write = ([piece, ...rest]: readonly Uint8Array[]): void => {
      if (socket.destroyed) return;
      if (piece === undefined) return void leaveAfter?.().then(finish, reject);
      socket.write(piece);
      setImmediate(write, rest);
    };
    write(pieces);
  });
  const finish = () => {
    resolve(Buffer.concat(chunks));
    socket.destroy();
  };
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if (enough !== undefined && Buffer.concat(chunks).includes(enough)) finish();
  });
  socket.on("error", finish);
  socket.on("close", finish);
  return promise;
}

/** What is wrong with an answer to an upgrade and the frames after it. */
function flawOfAnswer(answer: Buffer, isValid = false): string | null {
  if (answer.length === 0) return null;
  const end = answer.indexOf("\r\n\r\n");
  if (!answer.toString("latin1").startsWith("HTTP/1.1 101 ")) return `no upgrade: ${answer.toString()}`;
  const frames = answer.subarray(end + 4);
  if (isValid && !frames.includes(connect)) return `a valid one: ${frames.toString()}`;
  return flawOfFrames(frames);
}

test("websockets, and what is said over them", async () => {
  const { url, good, auth, expectUnharmed, expectEmpty } = await prepare();
  await fuzz<Speech>({
    cases: 1500,
    atOnce: 500,
    show,
    make(random) {
      const upgrade = upgradeOf(random);
      if (chance(random, 0.05)) {
        // In one piece: this process may be too busy to send the second in time.
        return { pieces: [Buffer.concat([upgrade, message(random, `40${good}`)])], isValid: true };
      }
      return { pieces: [upgrade, ...speechOf(random, auth, good)], isValid: false };
    },
    async run({ pieces, isValid }, i) {
      // The server ends it, at the latest for a heartbeat that is not answered.
      const options = isValid ? { enough: connect } : {};
      return flawOfAnswer(await converse(url, addressOf(i), pieces, options), isValid);
    },
    afterRound: expectUnharmed,
  });
  await expectEmpty();
});

/** One thing that a page does, or that somebody else does who has its sid. */
type Step =
  | { readonly kind: "post" | "cut"; readonly body: Uint8Array }
  | { readonly kind: "poll" | "leave" | "delete" }
  | { readonly kind: "upgrade"; readonly pieces: Speech["pieces"] };

const separators = ["\u001e", "\u001e", "\u001e", "\u001e", "\u001e\u001e", "\n", ""];

function bodyOf(random: Random, auth: (random: Random) => string): Uint8Array {
  const packets = times(below(random, 6), () => {
    const packet = enginePacket(random, () => auth(random));
    return typeof packet === "string" ? packet : `b${Buffer.from(packet).toString("base64")}`;
  });
  const body = Buffer.from(packets.join(pick(random, separators)));
  return chance(random, 0.1) ? mutateBytes(random, body) : body;
}

function stepOf(random: Random, auth: (random: Random) => string, good: string): Step {
  const dice = random();
  if (dice < 0.45) return { kind: chance(random, 0.1) ? "cut" : "post", body: bodyOf(random, auth) };
  if (dice < 0.85) return { kind: pick(random, ["poll", "poll", "poll", "leave", "delete"]) };
  const probe = [
    encodeFrame(random, { opcode: 1, payload: Buffer.from(pick(random, ["2probe", "2probe", "2", "5"])) }),
  ];
  const move = chance(random, 0.7) ? [encodeFrame(random, { opcode: 1, payload: Buffer.from("5") })] : [];
  return { kind: "upgrade", pieces: [...probe, ...move, ...speechOf(random, auth, good)] };
}

test("polling sessions, and what is posted to them", async () => {
  const { url, good, auth, expectUnharmed, expectEmpty } = await prepare();
  const statuses = new Set<number>();
  const leaveAfter = () => handled(url);

  const head = (method: string, sid: string | undefined, length: number) => {
    const { pathname, search } = new URL(engineUrl("http://x", "polling", sid));
    return `${method} ${pathname}${search} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${length}\r\n\r\n`;
  };

  /** One request; what is wrong with its answer. One who leaves does not wait for it. */
  async function ask(method: string, sid: string, from: string, body: Uint8Array, leaves: boolean) {
    const bytes = Buffer.concat([Buffer.from(head(method, sid, body.length)), body]);
    const { answers } = await talk(url, bytes, { from, ...(leaves && { leaveAfter }) });
    const [answer] = answers;
    if (answer === undefined) return leaves ? null : `no answer to ${method}`;
    statuses.add(answer.status);
    if (answer.status !== 200) return flawOf(answer);
    if (method === "POST") return answer.body === "ok" ? null : `an odd answer: ${answer.body}`;
    const packets = Buffer.from(answer.body, "latin1").toString().split("\u001e");
    return packets.map(flawOfPacket).find((flaw) => flaw !== null) ?? null;
  }

  /** Whoever ends in the middle of his body is not there for an answer. */
  async function cut(sid: string, from: string, body: Uint8Array): Promise<null> {
    await talk(url, Buffer.concat([Buffer.from(head("POST", sid, 1e5)), body]), { from, cut: true });
    return null;
  }

  async function act(step: Step, sid: string, from: string): Promise<string | null> {
    if (step.kind === "post") return ask("POST", sid, from, step.body, false);
    if (step.kind === "cut") return cut(sid, from, step.body);
    if (step.kind === "upgrade") {
      return flawOfUpgrade(await converse(url, from, [upgradeOf(() => 1, sid), ...step.pieces], { leaveAfter }));
    }
    return ask(step.kind === "delete" ? "DELETE" : "GET", sid, from, new Uint8Array(), step.kind === "leave");
  }

  async function run({ steps, isParallel }: { steps: readonly Step[]; isParallel: boolean }, i: number) {
    const from = addressOf(i);
    const [opened] = (await talk(url, head("GET", undefined, 0), { from })).answers;
    if (opened?.status !== 200) return `no session: ${opened?.status} ${opened?.body}`;
    const { sid } = parseOpen(opened.body);
    if (isParallel) {
      const flaws = await Promise.all(steps.map((step) => act(step, sid, from)));
      return flaws.find((flaw) => flaw !== null) ?? null;
    }
    for (const step of steps) {
      const flaw = await act(step, sid, from);
      if (flaw !== null) return flaw;
    }
    return null;
  }

  await fuzz({
    cases: 500,
    atOnce: 64,
    make: (random) => ({
      isParallel: chance(random, 0.4),
      steps: [
        ...times(below(random, 4), (n) => ({
          kind: "post" as const,
          body: Buffer.from(`40${n === 0 && chance(random, 0.6) ? good : auth(random)}`),
        })).slice(0, 1),
        ...times(1 + below(random, 6), () => stepOf(random, auth, good)),
      ],
    }),
    show: ({ steps, isParallel }) => {
      const shown = steps.map((step) => ({
        ...step,
        ...("body" in step && { body: Buffer.from(step.body).toString("latin1") }),
        ...("pieces" in step && { pieces: show({ pieces: step.pieces, isValid: false }) }),
      }));
      return `${isParallel ? "at once " : ""}${JSON.stringify(shown)}`;
    },
    run,
    afterRound: expectUnharmed,
  });
  expect([...statuses]).toEqual(expect.arrayContaining([200, 400]));
  await expectEmpty();
});

/** The session may be gone, or have moved already: then it is refused as any request is. */
function flawOfUpgrade(answer: Buffer): string | null {
  const text = answer.toString("latin1");
  return text.startsWith("HTTP/1.1 400 ") && text.includes("application/problem+json") ? null : flawOfAnswer(answer);
}
