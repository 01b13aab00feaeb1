import { Problem, problems, type FieldError } from "../model/problem.ts";
import { challengeOf } from "./challenge.ts";

/**
 * What every answer carries, whatever it is: nothing here is to be framed, sniffed, embedded by other origins, or kept by a
 * cache. (Pages of other origins that ask by CORS are not concerned by Cross-Origin-Resource-Policy.)
 */
const securityHeaders = new Headers({
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
});

/** Marks an answer that `respond` has not made. */
export function secure(headers: Headers): void {
  for (const [name, value] of securityHeaders) headers.set(name, value);
}

export function respond(
  status: number,
  body: string | Uint8Array<ArrayBuffer> | null,
  contentType: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  // Bun copies a Headers object at a fraction of what it takes to build one.
  const response = new Response(body, { status, headers: securityHeaders });
  if (body !== null) response.headers.set("Content-Type", contentType);
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}

export function json(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Response {
  return respond(status, JSON.stringify(body), "application/json", headers);
}

/**
 * RFC 9457. `type` is `about:blank#code`-like: a stable URI of the code, not an address to be fetched.
 *
 * @param request the headers of the request that it answers
 */
export function problem(error: unknown, request = new Headers()): Response {
  const refusal = error instanceof Problem ? error : new Problem("internal");
  const { code, extras } = refusal;
  const { status, title } = problems[code];
  const detail = detailOf(refusal);
  const challenge = challengeOf(code, detail, request);
  const body = {
    type: `urn:amper-channels:problem:${code}`,
    title,
    status,
    code,
    detail,
    ...(extras.errors === undefined ? {} : { errors: extras.errors }),
    ...extras.members,
  };
  return respond(status, JSON.stringify(body), "application/problem+json", {
    // Each refusal for now has a time to come back.
    ...(status === 429 || status === 503 ? { "Retry-After": "5" } : {}),
    ...(challenge === undefined ? {} : { "WWW-Authenticate": challenge }),
    ...extras.headers,
  });
}

/** What is wrong, in one line, for those who read nothing but `detail`, and for the log. */
export function detailOf({ message, extras: { detail, errors } }: Problem): string {
  return detail ?? errors?.map(sentenceOf).join("; ") ?? message;
}

function sentenceOf({ path, message }: FieldError): string {
  return path === "" ? message : `${path}: ${message}`;
}
