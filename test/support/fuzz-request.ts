import { secret } from "./fuzz.ts";
import { base64url } from "./fuzz-jwt.ts";
import { below, chance, mutateBytes, mutateText } from "./mutations.ts";
import { pick, type Random } from "./random.ts";

/** Requests that begin as valid ones and are changed at every level: method, address, headers, body, framing, bytes. */

/** A request that is still in parts. */
export interface Draft {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** It is not valid as it is. */
  readonly isOdd?: boolean;
}

export interface Sent {
  readonly bytes: Uint8Array;
  /** The same before it was framed: a credential may be split by chunks. */
  readonly text: string;
  readonly path: string;
  /** It is framed as HTTP asks, so that there has to be an answer. */
  readonly isFramed: boolean;
  /** Nothing was changed: it has to succeed. */
  readonly isValid: boolean;
}

const methods = ["GET", "POST", "POST", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"];

const oddHeaders: Draft["headers"] = [
  ["Content-Type", "text/plain"],
  ["Content-Type", "application/x-www-form-urlencoded; charset=utf-7"],
  ["Content-Type", "application/json;charset=utf-16"],
  ["Content-Type", "multipart/form-data; boundary=x"],
  ["Content-Encoding", "gzip"],
  ["Authorization", `Basic ${base64url("user:password")}`],
  ["Authorization", `bearer  ${secret}`],
  ["Authorization", "Bearer \t\xff"],
  ["Authorization", `DPoP ${secret}`],
  ["X-API-Key", secret],
  ["Origin", "null"],
  ["Origin", "http://[::"],
  ["Idempotency-Key", "\x01"],
  ["Idempotency-Key", "k".repeat(300)],
  ["X-Request-Id", '"}\\n{"level":"error"'],
  ["X-Forwarded-For", "127.0.0.1, ::1, [::1]:80, \xff, unknown, _hidden"],
  ["Forwarded", 'for="[::1]:1234";by=x'],
  ["Expect", "100-continue"],
  ["Accept-Encoding", "br;q=0, *;q=x"],
  ["Connection", "close, Upgrade"],
  ["Upgrade", "h2c"],
  ["Cookie", "__proto__=x; constructor=y"],
  ["__proto__", "x"],
  ["X-Http-Method-Override", "DELETE"],
  ["Range", "bytes=0-0"],
];

const oddQueries = [
  "keycloakID=a",
  "keycloakID=a&keycloakID=b",
  "keycloakID=",
  "keycloakID=%ff%fe",
  "keycloakID=%00",
  "keycloakID=%ED%A0%80",
  "keycloakID[]=a",
  "keycloakID[toString]=a",
  "__proto__=a",
  `access_token=${secret}`,
  `keycloakID=${"x".repeat(4000)}`,
  "&&&=&",
  "%",
  "?".repeat(50),
];

export function mutateDraft(random: Random, draft: Draft, mutateBody: (body: string) => string): Draft {
  const { headers } = draft;
  const at = below(random, headers.length + 1);
  const [name, value] = headers[at] ?? pick(random, oddHeaders);
  const before = headers.slice(0, at);
  const after = headers.slice(at + 1);
  return pick<() => Draft>(random, [
    () => ({ ...draft, method: chance(random, 0.8) ? pick(random, methods) : mutateText(random, draft.method) }),
    () => ({ ...draft, query: pick(random, oddQueries) }),
    () => ({ ...draft, query: mutateText(random, draft.query) }),
    () => ({ ...draft, path: `${draft.path}${pick(random, ["/", "//", "%2f", "/..", "?", ";x", "%00", "\\"])}` }),
    () => ({ ...draft, headers: [...before, ...after] }),
    () => ({ ...draft, headers: [...headers, pick(random, oddHeaders)] }),
    () => ({ ...draft, headers: [pick(random, oddHeaders), ...headers] }),
    () => ({ ...draft, headers: [...before, [name, mutateText(random, value)], ...after] }),
    () => ({ ...draft, headers: [...before, [name, value], [name, value], ...after] }),
    () => ({ ...draft, headers: [...before, [mutateText(random, name), value], ...after] }),
    () => ({ ...draft, headers: [...before, [name, `${value}\r\nX-Injected: yes`], ...after] }),
    () => ({ ...draft, body: mutateBody(draft.body) }),
    () => ({ ...draft, body: mutateBody(draft.body) }),
    () => ({ ...draft, body: mutateBody(draft.body) }),
    () => ({ ...draft, body: mutateText(random, draft.body) }),
  ])();
}

/** As a header line has to be: nothing in it ends it. */
const isLine = (text: string): boolean => !/[\r\n\0]/.test(text);
/** Bun ends the connection of any other without a word. */
const isKnown = (method: string): boolean => methods.includes(method);
const isToken = (text: string): boolean => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text);

/** To bytes; of a request that was changed, some get a framing that is wrong, or bytes that are. */
export function encode(random: Random, draft: Draft, changes: number): Sent {
  const { method, path, query, headers } = draft;
  const address = query === "" ? path : `${path}?${query}`;
  const body = Buffer.from(
    draft.body,
    changes > 0 && chance(random, 0.1) ? pick(random, ["latin1", "utf16le"]) : "utf8",
  );
  const isMisframed = changes > 0 && chance(random, 0.1);
  const [framing, content] = isMisframed ? misframe(random, body) : frame(random, body);
  const head = [
    `${method} ${address} HTTP/1.1`,
    "Host: 127.0.0.1",
    ...headers.map(([name, value]) => `${name}: ${value}`),
    framing,
  ];
  const bytes = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), content]);
  const isMangled = changes > 0 && chance(random, 0.05);
  const isFramed =
    !isMisframed &&
    !isMangled &&
    isKnown(method) &&
    head.every(isLine) &&
    headers.every(([name]) => isToken(name) && !/^(content-length|transfer-encoding|expect|host)$/i.test(name));
  const text = `${head.join("\r\n")}\r\n\r\n${draft.body}`;
  return {
    text,
    bytes: isMangled ? mutateBytes(random, bytes) : bytes,
    path: path.replace(/\?.*/, ""),
    isFramed,
    isValid: changes === 0 && draft.isOdd !== true,
  };
}

function chunked(random: Random, body: Buffer, extension = ""): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const part = body.subarray(at, (at += 1 + below(random, chance(random, 0.5) ? 8 : body.length)));
    parts.push(Buffer.from(`${part.length.toString(16)}${extension}\r\n`), part, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
}

function frame(random: Random, body: Buffer): [header: string, content: Buffer] {
  return chance(random, 0.8)
    ? [`Content-Length: ${body.length}`, body]
    : ["Transfer-Encoding: chunked", chunked(random, body)];
}

function misframe(random: Random, body: Buffer): [header: string, content: Buffer] {
  const all = chunked(random, body);
  return pick<() => [string, Buffer]>(random, [
    () => ["X-No-Length: 1", body],
    () => [`Content-Length: ${body.length + 1 + below(random, 100)}`, body],
    () => [`Content-Length: ${below(random, body.length + 1)}`, body],
    () => [`Content-Length: ${pick(random, ["-1", "1e3", "0x10", "99999999999999999999", "1 1", "1,1", ""])}`, body],
    () => [`Content-Length: ${body.length}\r\nTransfer-Encoding: chunked`, all],
    () => [`Content-Length: ${body.length}\r\nContent-Length: ${body.length + 1}`, body],
    () => ["Transfer-Encoding: chunked", body],
    () => ["Transfer-Encoding: chunked", all.subarray(0, below(random, all.length))],
    () => ["Transfer-Encoding: chunked", chunked(random, body, pick(random, [";x=y", ";\xff", " ", ";".repeat(5000)]))],
    () => ["Transfer-Encoding: chunked", Buffer.from(`${"f".repeat(1 + below(random, 20))}\r\n`)],
    () => [`Transfer-Encoding: ${pick(random, ["gzip, chunked", "chunked, identity", "CHUNKED", "\x0bchunked"])}`, all],
  ])();
}
