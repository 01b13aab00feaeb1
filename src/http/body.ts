import { Problem } from "../model/problem.ts";

/** Fatal: bytes that are not UTF-8 are refused instead of being replaced, so that nobody gets other text than was sent. */
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Reads a body of at most `limitBytes` (what `setting` says), declared or chunked. Throws `too_large`, `invalid_json` (not UTF-8) or `invalid_request` (cut). */
export async function readText(req: Request, limitBytes: number, setting = "max_body_bytes"): Promise<string> {
  const bytes = await readBytes(req, limitBytes, setting);
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Problem("invalid_json", { detail: "The body is not UTF-8." });
  }
}

async function readBytes(req: Request, limitBytes: number, setting: string): Promise<Uint8Array> {
  const declared = req.headers.get("content-length");
  // Not `>`: a length that is no number is not a small one.
  if (declared !== null && !(Number(declared) <= limitBytes)) throw tooLarge(limitBytes, setting);
  try {
    if (declared !== null) return await req.bytes();
    return await readChunks(req, limitBytes, setting);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem("invalid_request", { detail: "The body ended before it was complete." });
  }
}

/** A chunked body declares no length: count while it comes, so that a stranger cannot make us hold more than the limit. */
async function readChunks(req: Request, limitBytes: number, setting: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of req.body ?? []) {
    size += chunk.byteLength;
    if (size > limitBytes) throw tooLarge(limitBytes, setting);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(limitBytes: number, setting: string): Problem {
  return new Problem("too_large", {
    detail: `The body may have ${limitBytes} bytes (${setting}).`,
    // The rest of the body is not read; without this the next request on the connection would start in its middle.
    headers: { Connection: "close" },
  });
}
