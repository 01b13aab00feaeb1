import { brotliCompress, constants, gzip } from "node:zlib";
import { promisify } from "node:util";
import Negotiator from "negotiator";
import esmMap from "../../node_modules/socket.io/client-dist/socket.io.esm.min.js.map" with { type: "file" };
import esm from "../../node_modules/socket.io/client-dist/socket.io.esm.min.js" with { type: "file" };
import minMap from "../../node_modules/socket.io/client-dist/socket.io.min.js.map" with { type: "file" };
import min from "../../node_modules/socket.io/client-dist/socket.io.min.js" with { type: "file" };
import plainMap from "../../node_modules/socket.io/client-dist/socket.io.js.map" with { type: "file" };
import plain from "../../node_modules/socket.io/client-dist/socket.io.js" with { type: "file" };
import { sha256 } from "../model/digest.ts";
import { respond } from "./respond.ts";
import type { RouteTable } from "./router.ts";

/** The stock client in all its builds but msgpack, which speaks another parser. Inside the binary these paths lead into it. */
const clientFiles = {
  "socket.io.js": plain,
  "socket.io.js.map": plainMap,
  "socket.io.min.js": min,
  "socket.io.min.js.map": minMap,
  "socket.io.esm.min.js": esm,
  "socket.io.esm.min.js.map": esmMap,
} as const;

type Encoding = "br" | "gzip" | "identity";

const compress = {
  // Not the default 11: that takes a second of a core for a gain of a few percent.
  br: (data: Uint8Array) => promisify(brotliCompress)(data, { params: { [constants.BROTLI_PARAM_QUALITY]: 6 } }),
  gzip: (data: Uint8Array) => promisify(gzip)(data),
  identity: (data: Uint8Array) => Promise.resolve(data),
} as const satisfies Record<Encoding, (data: Uint8Array) => Promise<Uint8Array>>;

/** Compressed at the first request for it, then kept: six files in three encodings, however often they are asked for. */
const prepared = new Map<string, Promise<{ body: Uint8Array<ArrayBuffer>; etag: string }>>();

/** Each file has a route of its own. */
export function clientFileRoutes(): RouteTable {
  return Object.fromEntries(
    Object.entries(clientFiles).map(([name, path]) => [
      `/socket.io/${name}`,
      { pages: "all", GET: ({ req }) => serve(name, path, req.headers) },
    ]),
  );
}

async function serve(name: string, path: string, headers: Headers): Promise<Response> {
  const encoding = encodingFor(headers);
  const key = `${name} ${encoding}`;
  let file = prepared.get(key);
  if (file === undefined) prepared.set(key, (file = prepare(path, encoding)));
  const { body, etag } = await file;
  const caching = {
    ETag: etag,
    Vary: "Accept-Encoding",
    // Kept, but asked for each time: the client has to fit the server after an update (RFC 9111 5.2.2.4).
    "Cache-Control": "public, no-cache",
    "Cross-Origin-Resource-Policy": "cross-origin",
  };
  const known =
    headers
      .get("if-none-match")
      ?.split(",")
      .some((tag) => tag.trim().replace(/^W\//, "") === etag) ?? false;
  if (known) return respond(304, null, "", caching);
  const contentType = name.endsWith(".map") ? "application/json" : "text/javascript; charset=utf-8";
  return respond(200, body, contentType, {
    ...caching,
    ...(encoding === "identity" ? {} : { "Content-Encoding": encoding }),
  });
}

async function prepare(path: string, encoding: Encoding): Promise<{ body: Uint8Array<ArrayBuffer>; etag: string }> {
  const data = await Bun.file(path).bytes();
  const digest = sha256(data, "base64url").slice(0, 22);
  // Each encoding is a representation of its own, with a tag of its own (RFC 9110 8.8.3.3).
  return { body: new Uint8Array(await compress[encoding](data)), etag: `"${digest}-${encoding}"` };
}

/** The smallest that the client accepts: qualities are about what it prefers, and no client of ours prefers a larger file. */
function encodingFor(headers: Headers): Encoding {
  const asked = { headers: { "accept-encoding": headers.get("accept-encoding") ?? "identity" } };
  const accepted = new Negotiator(asked).encodings();
  return (["br", "gzip"] as const).find((name) => accepted.includes(name) || accepted.includes("*")) ?? "identity";
}
