import { MIMEType } from "node:util";
import type { Body } from "../limits/unfinished.ts";
import { Problem } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";
import { draining } from "./ending.ts";
import type { Exchange } from "./exchange.ts";

/** Fatal: bytes that are not UTF-8 are refused instead of being replaced, so that nobody gets other text than was sent. */
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What a body is read from. */
type Received = Pick<Exchange, "req" | "client" | "ending">;

/** Throws `unsupported_media_type`, or what `readText` throws. `curl -d` says it sends a form: the commonest mistake. */
export async function readJson(exchange: Received, max_body_bytes: number): Promise<string> {
  const type = essenceOf(exchange.req);
  if (type !== undefined && !/^application\/(.+\+)?json$/.test(type)) {
    throw new Problem("unsupported_media_type", { detail: "Send the header `Content-Type: application/json`." });
  }
  return readText(exchange, max_body_bytes, "max_body_bytes");
}

/** Throws `unsupported_media_type`, or what `readText` throws. */
export async function readForm(exchange: Received, max_body_bytes: number): Promise<string> {
  const type = essenceOf(exchange.req);
  if (type !== undefined && type !== "application/x-www-form-urlencoded") {
    const detail = "Send `Content-Type: application/x-www-form-urlencoded`.";
    throw new Problem("unsupported_media_type", { detail });
  }
  return readText(exchange, max_body_bytes, "max_body_bytes");
}

/** The media type, lower-case, without parameters; undefined: none is given, which counts as the right one. */
function essenceOf({ headers }: Request): string | undefined {
  const given = headers.get("content-type");
  if (given === null) return undefined;
  try {
    return new MIMEType(given).essence;
  } catch {
    return "";
  }
}

/**
 * Reads a body, declared or chunked, of at most `limit_bytes`, which are what `setting` says. Throws `too_large`,
 * `invalid_json` (not UTF-8), `invalid_request` (cut), `overloaded` or `draining`.
 */
export async function readText(
  { req, client, ending }: Received,
  limit_bytes: number,
  setting: keyof Settings,
): Promise<string> {
  if (ending.hasBegun) throw draining();
  const bytes = await ending.unfinished.receive(
    // Limits per address may be off for its key: some address has to lose something even so.
    () => client().key ?? client().address,
    (body) => readBody(req, body, limit_bytes, setting),
  );
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Problem("invalid_json", { detail: "The body is not UTF-8." });
  }
}

async function readBody(req: Request, body: Body, limit_bytes: number, setting: string): Promise<Uint8Array> {
  const bytes = await receive(req, body, limit_bytes);
  if (bytes !== undefined) return bytes;
  throw new Problem("too_large", { detail: `The body may have ${limit_bytes} bytes (${setting}).` });
}

/** Undefined: it is larger. */
async function receive(req: Request, body: Body, limit_bytes: number): Promise<Uint8Array | undefined> {
  const declared = req.headers.get("content-length");
  // Not `>`: a length that is no number is not a small one.
  if (declared !== null && !(Number(declared) <= limit_bytes)) return undefined;
  try {
    if (declared === null) return await receiveChunks(req, body, limit_bytes);
    // All of it: Bun allocates as much with the first byte, and tells of none but the last. As a stream, from which it could be
    // counted byte by byte, a body takes three times its size until it is collected, and each request 15 µs more.
    body.grow(Number(declared));
    return await req.bytes();
  } catch {
    throw new Problem("invalid_request", { detail: "The body ended before it was complete." });
  }
}

/** A chunked body declares no length: it is counted while it comes. Undefined: it is larger. */
async function receiveChunks(req: Request, body: Body, limit_bytes: number): Promise<Uint8Array | undefined> {
  if (req.body === null) return new Uint8Array();
  const reader = req.body.getReader();
  let bytes = new Uint8Array();
  let size_bytes = 0;
  let isCut = false;
  // Otherwise Bun keeps the 64 KiB into which it reads for ever, if the client goes away or the answer comes first.
  const cut = (): void => {
    isCut = true;
    reader.cancel().catch(() => undefined);
    // Free at once, and not when it is collected: a flood brings more than the collector looks for.
    bytes.buffer.transfer(0);
  };
  req.signal.addEventListener("abort", cut);
  body.onDrop(cut);
  for (;;) {
    const { done, value } = await reader.read();
    if (isCut) throw new Error("the body was cut");
    if (done) break;
    const start = size_bytes;
    size_bytes += value.byteLength;
    if (size_bytes > limit_bytes) {
      bytes = new Uint8Array();
      // What is left may still be read.
      reader.releaseLock();
      break;
    }
    body.grow(value.byteLength);
    // One array, not one for each chunk: chunks may be of one byte.
    if (start === 0) {
      bytes = value;
      continue;
    }
    bytes = withRoom(bytes, size_bytes, limit_bytes);
    bytes.set(value, start);
  }
  req.signal.removeEventListener("abort", cut);
  return size_bytes > limit_bytes ? undefined : bytes.subarray(0, size_bytes);
}

function withRoom(bytes: Uint8Array<ArrayBuffer>, size_bytes: number, limit_bytes: number): Uint8Array<ArrayBuffer> {
  if (size_bytes <= bytes.byteLength) return bytes;
  const larger = new Uint8Array(Math.min(2 * size_bytes, limit_bytes));
  larger.set(bytes);
  return larger;
}
