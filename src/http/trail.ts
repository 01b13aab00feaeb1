import { namePattern } from "../model/names.ts";
import type { Trail } from "../observe/trail.ts";

/** Begins the trail of a request with what its headers say. */
export function trailOf(headers: Headers): Trail {
  return { requestId: requestId(headers), traceId: traceId(headers.get("traceparent")) };
}

/** The caller's own id where it is one that can go into a header and a log line as it is. */
function requestId(headers: Headers): string {
  const given = headers.get("x-request-id");
  return given !== null && namePattern.test(given) ? given : crypto.randomUUID();
}

/** Of version 00, and, as far as later ones begin like it, of those: all but ff, which is invalid. */
const traceparent = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:$|-)/;
const zeros = /^0+$/;

/** The trace id of a valid header (W3C Trace Context 3.2); any other header is ignored as a whole, as section 4.3 asks. */
function traceId(header: string | null): string | undefined {
  const [whole, version, trace = "", parent = ""] = traceparent.exec(header ?? "") ?? [];
  if (whole === undefined || zeros.test(trace) || zeros.test(parent)) return undefined;
  return version === "00" && whole !== header ? undefined : trace;
}
