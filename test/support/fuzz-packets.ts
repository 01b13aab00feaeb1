import * as v from "valibot";
import { refusals } from "../../src/model/refusal.ts";
import { secret } from "./fuzz.ts";
import { below, chance, mutateBytes, mutateText, oddJson, oddString, times } from "./mutations.ts";
import { pick, type Random } from "./random.ts";

/** Websocket frames, Engine.IO and Socket.IO packets: as a stock client sends them, as none does, and what a server may answer. */

/** A Socket.IO packet by its grammar (protocol 5): type, attachments, namespace, acknowledgement id, payload. */
export function socketPacket(random: Random, auth: () => string): string {
  const type = pick(random, [..."0 0 0 1 2 2 2 3 4 5 6 7 9 - x \0 ٠".split(" "), ""]);
  const binary = "56".includes(type) || chance(random, 0.05);
  const attachments = binary ? pick(random, ["", "0-", "1-", "2-", "10-", "11-", "-1-", "1e3-", "1.5-", "-", "1"]) : "";
  const namespace = pick(random, [
    "",
    "",
    "",
    "",
    "",
    "/,",
    "/admin,",
    "/__proto__,",
    "/constructor,",
    "/%00,",
    "/\0,",
    "/a?token=x,",
    "/",
    ",",
    `/${"n".repeat(below(random, 3000))},`,
  ]);
  const id = pick(random, ["", "", "", "", "0", "13", "-1", "007", "9".repeat(below(random, 400)), "1e5", " ", "٣"]);
  const packet = [type, attachments, namespace, id, type === "0" ? auth() : payload(random)].join("");
  return chance(random, 0.25) ? mutateText(random, packet) : packet;
}

function payload(random: Random): string {
  return pick<() => string>(random, [
    () => `["event","${secret}"]`,
    () => `[${oddString(random)},${oddJson(random)}]`,
    () => `["${pick(random, ["connect", "disconnect", "error", "newListener", "notification", "__proto__"])}",1]`,
    () => `["event",{"_placeholder":true,"num":${pick(random, ["0", "-1", "1e9", "null", '"0"', "0.5"])}}]`,
    () => `[["event"],{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`,
    () => `[{"__proto__":{"polluted":true}}]`,
    () => "",
    () => oddJson(random),
  ])();
}

/** An Engine.IO packet (protocol 4), most of them messages. Bytes are a binary message on a websocket. */
export function enginePacket(random: Random, auth: () => string): string | Uint8Array {
  const dice = random();
  if (dice < 0.75) return `4${socketPacket(random, auth)}`;
  if (dice < 0.8) return mutateBytes(random, Buffer.from(`4${socketPacket(random, auth)}`));
  return pick(random, [
    "0",
    "1",
    "2",
    "2probe",
    "3",
    "3probe",
    "5",
    "6",
    "7",
    "",
    "b",
    "bAAAA",
    "b!",
    `b${secret}`,
    "é",
    "\ud800",
    "40",
    "41",
    `0{"sid":"${secret}"}`,
    `2${"p".repeat(below(random, 2000))}`,
  ]);
}

export interface Frame {
  readonly opcode: number;
  readonly payload: Uint8Array;
  readonly fin?: boolean;
  readonly reserved?: number;
  readonly masked?: boolean;
  /** Bytes in which the length is given; 0: as few as can be (RFC 6455 5.2). */
  readonly lengthBytes?: 0 | 2 | 8;
  readonly declared?: bigint;
}

export function encodeFrame(random: Random, made: Frame): Uint8Array {
  const { opcode, payload: data, fin = true, reserved = 0, masked = true, lengthBytes = 0 } = made;
  const declared = made.declared ?? BigInt(data.length);
  const size = lengthBytes > 0 ? lengthBytes : declared < 126n ? 0 : declared < 65_536n ? 2 : 8;
  const head = Buffer.alloc(2 + size);
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = (masked ? 0x80 : 0) | (size === 0 ? Number(declared) : size === 2 ? 126 : 127);
  if (size === 2) head.writeUInt16BE(Number(declared & 0xffffn), 2);
  if (size === 8) head.writeBigUInt64BE(declared, 2);
  if (!masked) return Buffer.concat([head, data]);
  const key = Buffer.from(times(4, () => below(random, 256)));
  return Buffer.concat([head, key, Buffer.from(data).map((byte, i) => byte ^ (key[i % 4] ?? 0))]);
}

const bytesOf = (packet: string | Uint8Array): Uint8Array =>
  typeof packet === "string" ? Buffer.from(packet) : packet;

/** One message: in one frame, or in several, with or without a control frame in between. */
export function message(random: Random, packet: string | Uint8Array): Uint8Array {
  const opcode = typeof packet === "string" ? 1 : 2;
  const data = bytesOf(packet);
  if (chance(random, 0.8)) return encodeFrame(random, { opcode, payload: data });
  const cut = below(random, data.length + 1);
  const between = chance(random, 0.5)
    ? encodeFrame(random, { opcode: 9, payload: Buffer.from("ping") })
    : new Uint8Array();
  return Buffer.concat([
    encodeFrame(random, { opcode, payload: data.subarray(0, cut), fin: false }),
    between,
    encodeFrame(random, { opcode: 0, payload: data.subarray(cut) }),
  ]);
}

/** A frame that RFC 6455 does not allow, or hardly. */
export function oddFrame(random: Random, packet: string | Uint8Array): Uint8Array {
  const data = bytesOf(packet);
  const base: Frame = { opcode: typeof packet === "string" ? 1 : 2, payload: data };
  const small = data.subarray(0, 125);
  const code = Buffer.alloc(2);
  code.writeUInt16BE(pick(random, [0, 999, 1000, 1001, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 5000, 65_535]));
  return pick<() => Uint8Array>(random, [
    () => encodeFrame(random, { ...base, masked: false }),
    () => encodeFrame(random, { ...base, reserved: 1 + below(random, 7) }),
    () => encodeFrame(random, { ...base, opcode: 3 + below(random, 5) }),
    () => encodeFrame(random, { ...base, opcode: 11 + below(random, 5) }),
    () => encodeFrame(random, { ...base, opcode: 0 }),
    () => encodeFrame(random, { ...base, fin: false }),
    () => encodeFrame(random, { ...base, lengthBytes: pick<2 | 8>(random, [2, 8]) }),
    () => encodeFrame(random, { ...base, declared: BigInt(data.length + 1 + below(random, 100)) }),
    () => encodeFrame(random, { ...base, declared: BigInt(below(random, data.length + 1)) }),
    () =>
      encodeFrame(random, {
        ...base,
        lengthBytes: 8,
        declared: pick(random, [999_999n, 1_000_001n, 2n ** 63n, 2n ** 64n - 1n]),
      }),
    () => encodeFrame(random, { opcode: pick(random, [8, 9, 10]), payload: data }),
    () => encodeFrame(random, { opcode: pick(random, [8, 9, 10]), payload: small, fin: false }),
    () => encodeFrame(random, { opcode: pick(random, [9, 10]), payload: small }),
    () => encodeFrame(random, { opcode: 8, payload: Buffer.concat([code, small.subarray(0, 123)]) }),
    () => encodeFrame(random, { opcode: 8, payload: small.subarray(0, 1) }),
    () => encodeFrame(random, { opcode: 1, payload: mutateBytes(random, data) }),
    () => Buffer.concat(times(50, () => encodeFrame(random, { opcode: 9, payload: new Uint8Array() }))),
    () => Buffer.concat(times(200, () => encodeFrame(random, { opcode: 0, payload: new Uint8Array(), fin: false }))),
    () => mutateBytes(random, encodeFrame(random, base)),
    () => Uint8Array.from(times(below(random, 64), () => below(random, 256))),
    () => Buffer.from("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"),
  ])();
}

const Refused = v.looseObject({ message: v.string(), data: v.optional(v.strictObject({ code: v.string() })) });
const Connected = v.strictObject({ sid: v.string(), pid: v.string() });
const Event = v.pipe(
  v.array(v.unknown()),
  v.check(([name]) => ["notification", "cursor", "closing"].includes(String(name))),
);

const accepts = (schema: v.GenericSchema, json: string): boolean =>
  v.is(v.pipe(v.string(), v.parseJson(), schema), json);

/** What is wrong with a packet that the server has sent, or null. */
export function flawOfPacket(packet: string): string | null {
  if (packet.includes(secret)) return `tells a secret: ${packet}`;
  const isKnown =
    ["1", "2", "3probe", "6", "41"].includes(packet) ||
    (packet.startsWith("0{") && accepts(v.looseObject({ sid: v.string() }), packet.slice(1))) ||
    (packet.startsWith("40{") && accepts(Connected, packet.slice(2))) ||
    (packet.startsWith("42[") && accepts(Event, packet.slice(2))) ||
    (packet.startsWith("44") && isRefusal(packet.slice(2)));
  return isKnown ? null : `an odd packet: ${JSON.stringify(packet)}`;
}

function isRefusal(answer: string): boolean {
  // The namespace that was asked for comes back in front of it, whatever it was called.
  const json = answer.slice(answer.lastIndexOf('{"message":'));
  const { success, output } = v.safeParse(v.pipe(v.string(), v.parseJson(), Refused), json);
  if (!success) return false;
  const { message: sentence, data } = output;
  if (data === undefined) return sentence === "Invalid namespace";
  return Object.entries(refusals).some(([code, text]) => code === data.code && text === sentence);
}

/** What is wrong with the frames that the server has sent (RFC 6455 5.1: whole, and not masked), or null. */
export function flawOfFrames(bytes: Buffer): string | null {
  let closed = false;
  let connects = 0;
  for (let at = 0; at + 2 <= bytes.length;) {
    const [first, second] = [bytes.readUInt8(at), bytes.readUInt8(at + 1)];
    const size = second === 126 ? 2 : second === 127 ? 8 : 0;
    if (bytes.length < at + 2 + size) return null;
    const length =
      size === 0 ? second : size === 2 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    const start = at + 2 + size;
    at = start + length;
    // The rest was cut off with the connection.
    if (at > bytes.length) return null;
    if (closed) return "a frame after the close frame";
    if (![0x81, 0x82, 0x88, 0x89, 0x8a].includes(first) || second > 127)
      return `a frame that begins with ${first}, ${second}`;
    if (first === 0x88) closed = true;
    // There is one in the life of an engine connection.
    if (first === 0x81 && bytes.toString("latin1", start, start + 3) === "40{" && ++connects > 1)
      return "connected twice";
    const flaw =
      first === 0x81 ? flawOfPacket(bytes.toString("utf8", start, at)) : first === 0x82 ? "a binary frame" : null;
    if (flaw !== null) return flaw;
  }
  return null;
}
