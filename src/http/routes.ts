import * as v from "valibot";
import { KeycloakId, type Channels } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import { readText } from "./body.ts";
import { clientFile, clientFiles } from "./client-files.ts";
import { bearer, headerKey } from "./credentials.ts";
import { json, respond } from "./respond.ts";
import type { Client, Exchange, Route } from "./router.ts";

/** A backend's or an operator's key: which channels it may see, and whether it may end connections. */
interface Key {
  readonly name: string;
  readonly channels: Channels;
  readonly admin: boolean;
}

export interface RouteNeeds<Socket> {
  readonly authorize: (secret: string | undefined, query: URLSearchParams) => Promise<object>;
  /** Throws `rate_limited`. */
  readonly limitAuthorize: (client: Client) => void;
  readonly limitLogout: (client: Client) => void;
  readonly notify: (request: {
    id: string;
    apiKey: string | undefined;
    headers: Headers;
    readText: () => Promise<string>;
  }) => Promise<{ readonly receipt: object; readonly replayed: boolean }>;
  readonly socketIo: (req: Request, server: Bun.Server<Socket>, url: URL) => Promise<Response>;
  readonly apiKeys: {
    find(secret: string): Key | undefined;
    hasExpired(secret: string): boolean;
  };
  readonly totals: (within: Channels) => object;
  readonly presence: (user: KeycloakId, within: Channels) => object;
  readonly disconnect: (user: KeycloakId, by: { key: string; id: string }) => Promise<object>;
  readonly logout: (body: string, requestId: string) => Promise<void>;
  readonly ready: () => object;
  readonly metrics: { readonly contentType: string; scrape(): Promise<string> };
  readonly metricsAccess: {
    readonly open: boolean;
    readonly isToken: ((secret: string) => boolean) | undefined;
    readonly isLocal: (peer: string, headers: Headers) => boolean;
  };
  readonly maxBodyBytes: number;
}

/** The whole route table. */
export function createRoutes<Socket>(needs: RouteNeeds<Socket>): Record<string, Route<Socket>> {
  return {
    "/authorize": {
      cors: true,
      authenticates: true,
      GET: async ({ req, url, client }) => {
        needs.limitAuthorize(client());
        return json(200, await needs.authorize(bearer(req.headers), url.searchParams));
      },
    },
    "/notify": { authenticates: true, POST: async ({ req, id }) => notify(req, id) },
    "/socket.io/": { cors: true, any: ({ req, server, url }) => needs.socketIo(req, server, url) },
    "/socket.io/*": { cors: true, GET: ({ req, rest }) => serveClient(rest, req) },
    "/connections": { authenticates: true, GET: ({ req }) => json(200, needs.totals(keyOf(req).channels)) },
    "/connections/*": {
      authenticates: true,
      GET: ({ req, rest }) => {
        const key = keyOf(req);
        return json(200, needs.presence(userIn(rest), key.channels));
      },
      DELETE: async ({ req, rest, id }) => {
        const key = adminKeyOf(req);
        return json(200, await needs.disconnect(userIn(rest), { key: key.name, id }));
      },
    },
    "/health/live": { GET: () => json(200, { status: "live" }) },
    "/health/ready": { GET: () => json(200, needs.ready()) },
    "/metrics": { authenticates: true, GET: async (exchange) => scrape(exchange) },
    // Not made to wait for what others at its address have failed at: Keycloak sends a logout once.
    "/backchannel-logout": { POST: async (exchange) => logout(exchange) },
    "/openapi.json": { GET: notAvailable },
    "/console": { GET: notAvailable },
  };

  async function notify(req: Request, id: string): Promise<Response> {
    const { headers } = req;
    const readBody = () => readText(req, needs.maxBodyBytes);
    const { receipt, replayed } = await needs.notify({ id, apiKey: headerKey(headers), headers, readText: readBody });
    return json(200, receipt, replayed ? { "Idempotent-Replayed": "true" } : {});
  }

  async function logout({ req, id, client }: Exchange<Socket>): Promise<Response> {
    needs.limitLogout(client());
    const contentType = req.headers.get("content-type");
    if (contentType !== null && !/^application\/x-www-form-urlencoded\s*(;|$)/i.test(contentType)) {
      const detail = "Send `Content-Type: application/x-www-form-urlencoded`.";
      throw new Problem("unsupported_media_type", { detail });
    }
    await needs.logout(await readText(req, needs.maxBodyBytes), id);
    return respond(200, null, "");
  }

  function keyOf(req: Request): Key {
    const secret = headerKey(req.headers);
    if (secret === undefined) throw new Problem("api_key_invalid", { guess: false });
    const key = needs.apiKeys.find(secret);
    if (key === undefined) throw new Problem("api_key_invalid", { guess: !needs.apiKeys.hasExpired(secret) });
    return key;
  }

  function adminKeyOf(req: Request): Key {
    const key = keyOf(req);
    if (!key.admin) throw new Problem("admin_required");
    if (key.channels !== "*") {
      throw new Problem("channel_forbidden", {
        detail: "This key is limited to channels, and it would end all of them.",
      });
    }
    return key;
  }

  async function scrape({ req, server }: Exchange<Socket>): Promise<Response> {
    const { open, isToken, isLocal } = needs.metricsAccess;
    if (isToken !== undefined) {
      const token = bearer(req.headers);
      if (token === undefined || !isToken(token)) {
        throw new Problem("metrics_token_invalid", { guess: token !== undefined });
      }
    } else if (!open && !isLocal(server.requestIP(req)?.address ?? "", req.headers)) {
      throw new Problem("metrics_forbidden", {
        detail: "Set metrics_token or metrics_open to scrape from elsewhere, or by another name.",
      });
    }
    return respond(200, await needs.metrics.scrape(), needs.metrics.contentType);
  }
}

function serveClient(name: string, req: Request): Promise<Response> {
  const path = clientFiles.get(name);
  if (path === undefined) throw new Problem("not_found");
  return clientFile(name, path, req.headers);
}

function userIn(segment: string): KeycloakId {
  const result = v.safeParse(KeycloakId, decode(segment));
  if (result.success) return result.output;
  throw new Problem("invalid_request", { errors: [{ path: "keycloakID", message: result.issues[0].message }] });
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return "";
  }
}

function notAvailable(): never {
  throw new Problem("not_available");
}
