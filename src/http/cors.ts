import { Problem } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";
import { isOfAnotherOrigin, isOwn } from "./origin.ts";
import { respond } from "./respond.ts";

export interface Cors {
  /** Throws `origin_forbidden` if the request is of a page whose origin is neither ours nor listed. */
  requireListed(req: Request): void;
  /** Marks an answer as readable by the page. */
  mark(req: Request, headers: Headers): void;
  preflight(req: Request, methods: string): Response;
}

/** CORS for pages, and the same list against cross-site websocket hijacking: browsers send Origin on upgrades but ask nobody. */
export function createCors({ cors_origins }: Pick<Settings, "cors_origins">): Cors {
  const allowed = cors_origins === "*" ? undefined : new Set(cors_origins);

  function allows(req: Request): boolean {
    if (allowed === undefined) return true;
    const origin = req.headers.get("origin");
    // A page that uses the service sends Origin. One of elsewhere that sends none cannot read the answer: an image, a frame.
    if (origin === null) return !isOfAnotherOrigin(req.headers);
    return allowed.has(origin) || isOwn(origin, req);
  }

  function requireListed(req: Request): void {
    if (allows(req)) return;
    throw new Problem("origin_forbidden", {
      detail: "Pages of this origin may not call this: add it to cors_origins.",
    });
  }

  function mark(req: Request, headers: Headers): void {
    if (allowed === undefined) {
      headers.set("Access-Control-Allow-Origin", "*");
    } else {
      headers.append("Vary", "Origin");
      const origin = req.headers.get("origin");
      if (origin !== null && allows(req)) headers.set("Access-Control-Allow-Origin", origin);
    }
    headers.set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate, X-Request-Id");
  }

  function preflight(req: Request, methods: string): Response {
    const response = respond(204, null, "", { Allow: methods });
    const { headers } = response;
    mark(req, headers);
    if (headers.has("Access-Control-Allow-Origin")) {
      headers.set("Access-Control-Allow-Methods", methods);
      headers.set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id");
      headers.set("Access-Control-Max-Age", "600");
    }
    return response;
  }

  return { requireListed, mark, preflight };
}
