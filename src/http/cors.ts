import { canonicalOrigin } from "../model/origin.ts";
import { Problem } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";
import { createPages, isOfAnotherOrigin, type Asked } from "./origin.ts";
import { respond } from "./respond.ts";

/** Pages of which other origins may call a route: those of `cors_origins`, which may read the answer, or all. */
export type Callers = "listed" | "all";

export interface Cors {
  /** Throws `origin_forbidden` if the request is of a page that may not call this. Undefined: no page but our own may. */
  requireOrigin(callers: Callers | undefined, asked: Asked): void;
  /** Marks an answer as readable by the page. */
  mark(asked: Asked, headers: Headers): void;
  preflight(asked: Asked, methods: string): Response;
}

/** Headers that pages need, and that a preflight is told of even if it does not ask for them. */
const basicHeaders = ["Authorization", "Content-Type", "X-Request-Id"];

/** Pages send a handful: tracing, and what their frameworks add. */
const mostHeaders = 64;

/** A name as RFC 9110 5.1 has it, no longer than any that is in use. */
const headerName = /^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/;

/** CORS for pages, and the same list against cross-site websocket hijacking: browsers send Origin on upgrades but ask nobody. */
export function createCors(settings: Pick<Settings, "cors_origins" | "trust_proxy_hops">): Cors {
  const { cors_origins } = settings;
  const pages = createPages(settings);
  const isListed = cors_origins === "*" ? undefined : matcher(cors_origins);

  function allows(asked: Asked): boolean {
    if (isListed === undefined) return true;
    const { headers } = asked.req;
    const origin = headers.get("origin");
    // A page that uses the service sends Origin. One of elsewhere that sends none cannot read the answer: an image, a frame.
    if (origin === null) return !isOfAnotherOrigin(headers);
    return isListed(origin) || pages.isOwn(origin, asked);
  }

  function requireOrigin(callers: Callers | undefined, asked: Asked): void {
    if (callers === "all" || (callers === "listed" ? allows(asked) : !pages.isForeign(asked))) return;
    const detail =
      callers === "listed"
        ? "Pages of this origin may not call this: add it to cors_origins."
        : "Pages of other origins may not call this: call it from a backend, without Origin or Sec-Fetch-Site.";
    throw new Problem("origin_forbidden", { detail });
  }

  function mark(asked: Asked, headers: Headers): void {
    headers.set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate, X-Request-Id");
    if (isListed === undefined) {
      headers.set("Access-Control-Allow-Origin", "*");
      return;
    }
    headers.append("Vary", "Origin");
    const origin = asked.req.headers.get("origin");
    if (origin === null || !allows(asked)) return;
    headers.set("Access-Control-Allow-Origin", origin);
    // The cookie of a sticky balancer. (The service itself takes no cookies.)
    if (isListed(origin)) headers.set("Access-Control-Allow-Credentials", "true");
  }

  function preflight(asked: Asked, methods: string): Response {
    const response = respond(204, null, "", { Allow: methods, Vary: "Access-Control-Request-Headers" });
    const { headers } = response;
    mark(asked, headers);
    if (headers.has("Access-Control-Allow-Origin")) {
      headers.set("Access-Control-Allow-Methods", methods);
      headers.set("Access-Control-Allow-Headers", allowedHeaders(asked.req).join(", "));
      headers.set("Access-Control-Max-Age", "600");
    }
    return response;
  }

  return { requireOrigin, mark, preflight };
}

/** Whatever a page asks for: it gets nothing by a header that it could not have without a browser. */
function allowedHeaders({ headers }: Request): string[] {
  const asked = (headers.get("access-control-request-headers") ?? "").split(",", mostHeaders);
  const names = asked.map((name) => name.trim().toLowerCase()).filter((name) => headerName.test(name));
  const known = new Set(basicHeaders.map((name) => name.toLowerCase()));
  return [...basicHeaders, ...new Set(names).difference(known)];
}

/** Whether an Origin is one of these, of which some have a `*`. */
function matcher(listed: readonly string[]): (origin: string) => boolean {
  const exact = new Set(listed);
  const wildcards = listed.filter((one) => one.includes("*")).map((one) => one.split("*"));
  return (given) => {
    const origin = canonicalOrigin(given);
    // Browsers write it in lower case (RFC 6454 6.2): any other is of no page.
    if (origin === undefined || given !== given.toLowerCase()) return false;
    if (exact.has(origin)) return true;
    return wildcards.some(
      ([before = "", after = ""]) =>
        origin.length > before.length + after.length && origin.startsWith(before) && origin.endsWith(after),
    );
  };
}
