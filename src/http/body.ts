import { MIMEType } from "node:util";
import { readAtMost } from "../limits/read.ts";
import { Problem } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";
import type { Exchange } from "./exchange.ts";

/** Fatal: bytes that are not UTF-8 are refused instead of being replaced, so that nobody gets other text than was sent. */
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What a body is read from. */
type Received = Pick<Exchange, "req" | "ending">;

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
 * `invalid_json` (not UTF-8), `invalid_request` (cut) or `draining`.
 */
export async function readText(
  { req, ending }: Received,
  limit_bytes: number,
  setting: keyof Settings,
): Promise<string> {
  const bytes = await ending.receive(readBody(req, limit_bytes, setting));
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Problem("invalid_json", { detail: "The body is not UTF-8." });
  }
}

async function readBody(req: Request, limit_bytes: number, setting: string): Promise<Uint8Array> {
  const body = await receive(req, limit_bytes);
  if (body !== undefined) return body;
  throw new Problem("too_large", { detail: `The body may have ${limit_bytes} bytes (${setting}).` });
}

/** Undefined: it is larger. */
async function receive(req: Request, limit_bytes: number): Promise<Uint8Array | undefined> {
  const declared = req.headers.get("content-length");
  // Not `>`: a length that is no number is not a small one.
  if (declared !== null && !(Number(declared) <= limit_bytes)) return undefined;
  try {
    if (declared !== null) return await req.bytes();
    // A chunked body declares no length: it is counted while it comes. What is left may still be read.
    return await readAtMost(req.body?.values({ preventCancel: true }) ?? null, limit_bytes);
  } catch {
    throw new Problem("invalid_request", { detail: "The body ended before it was complete." });
  }
}
