import { Problem } from "../model/problem.ts";

/**
 * Refuses a request that a proxy in front could read as another than we do (RFC 9112 11.2, request smuggling). Bun itself
 * refuses most of them (two different lengths, a length with a coding, bare line feeds, folded lines, …); these reach us.
 */
export function refuseAmbiguous({ method, headers }: Request): void {
  // Bun joins two headers of one name by a comma. Two equal lengths would pass, and be no number where a body is measured.
  const length = headers.get("content-length");
  if (length?.includes(",") === true) throw ambiguous("Content-Length is given more than once.");
  // Bun takes empty elements for none, as lists allow; others take `chunked,` for a coding that they do not know.
  const coding = headers.get("transfer-encoding");
  if (coding !== null && coding.toLowerCase() !== "chunked") throw ambiguous("Transfer-Encoding can only be chunked.");
  // RFC 9112 3.2. The address that we see is made of the first; Origin is compared with them.
  if (headers.get("host")?.includes(",") === true) throw ambiguous("Host is given more than once.");
  // Bun reads what follows as a body, or as frames, depending on whether it comes in the same packet.
  if (hasBody(headers) && headers.get("upgrade")?.toLowerCase() === "websocket") {
    throw ambiguous("A websocket upgrade has no body.");
  }
  // Bun takes trailers for another request, and answers 400 in place of us, also where a notification has been accepted.
  if (headers.has("trailer")) throw ambiguous("Trailers are not understood here: send none.");
  // What follows a CONNECT is for the other end of a tunnel: Bun does not read it as requests.
  if (method === "CONNECT") throw ambiguous("This is not a proxy.");
}

export function hasBody(headers: Headers): boolean {
  const length = headers.get("content-length");
  return headers.has("transfer-encoding") || (length !== null && length !== "0");
}

function ambiguous(detail: string): Problem {
  // Where the next request begins is what is in doubt.
  return new Problem("invalid_request", { detail, headers: { Connection: "close" } });
}
