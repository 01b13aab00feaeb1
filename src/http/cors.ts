import type { Settings } from "../settings/schema.ts";
import { respond } from "./respond.ts";

export interface Cors {
  /** May a page of this origin talk to us? Requests without an Origin header are not from a page of another origin. */
  allows(req: Request): boolean;
  /** Marks an answer as readable by the page. */
  mark(req: Request, headers: Headers): void;
  preflight(req: Request, methods: string): Response;
}

/** CORS for pages, and the same list against cross-site websocket hijacking: browsers send Origin on upgrades but ask nobody. */
export function createCors({ cors_origins }: Pick<Settings, "cors_origins">): Cors {
  const allowed = cors_origins === "*" ? undefined : new Set(cors_origins);

  function allows(req: Request): boolean {
    const origin = req.headers.get("origin");
    if (origin === null || allowed === undefined || allowed.has(origin)) return true;
    // A page that came from this very host (the console, or an application behind the same proxy).
    return URL.parse(origin)?.host === req.headers.get("host");
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

  return { allows, mark, preflight };
}
