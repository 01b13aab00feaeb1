import { Problem } from "../model/problem.ts";
import type { Cors } from "./cors.ts";
import { refuseAmbiguous } from "./framing.ts";
import { problem, respond, secure } from "./respond.ts";

/** Whom a request comes from, and what limits per address count it by; undefined: they are off for it. */
export interface Client {
  readonly address: string;
  readonly key: string | undefined;
}

/** A request under way. */
export interface Exchange<Socket = unknown> {
  readonly req: Request;
  readonly url: URL;
  readonly server: Bun.Server<Socket>;
  readonly client: () => Client;
  /** Goes back as X-Request-Id, and into the log lines of the request. */
  readonly id: string;
  /** What stands in place of the `*` of a route. */
  readonly rest: string;
}

export type Handler<Socket> = (exchange: Exchange<Socket>) => Response | Promise<Response>;

export interface Route<Socket> {
  readonly GET?: Handler<Socket>;
  readonly POST?: Handler<Socket>;
  readonly DELETE?: Handler<Socket>;
  /** Instead of the above: the handler judges the method. */
  readonly any?: Handler<Socket>;
  /** It judges a key or a token: an address that brings too many bad ones has to wait. */
  readonly authenticates?: boolean;
  /** Pages of other origins may call it, and read the answer. */
  readonly cors?: boolean;
}

export interface RouterNeeds<Socket> {
  /** By path; one that ends in `*` takes one more segment, whatever it is. */
  readonly routes: Readonly<Record<string, Route<Socket>>>;
  readonly cors: Cors;
  readonly clientOf: (req: Request, server: Bun.Server<Socket>) => Client;
  readonly gate: {
    /** Throws `rate_limited`, whatever the credential is: an answer that differs would help who is guessing. */
    attempt(client: () => Client): void;
    failed(client: Client): void;
  };
  /** The longest path of a request, with its query. */
  readonly maxUrlBytes: number;
  /** `seconds` is undefined for the requests that wait on purpose. */
  readonly onAnswered: (answer: { route: string; status: number; seconds: number | undefined }) => void;
  readonly onProblem: (problem: { route: string; code: string; id: string; address: string }) => void;
  /** Something that was not foreseen: a bug. */
  readonly onCrash: (error: unknown, id: string) => void;
}

export interface Router<Socket> {
  answer(req: Request, server: Bun.Server<Socket>): Promise<Response>;
  /** Resolves when no request is under way but those that wait on purpose. */
  idle(): Promise<void>;
}

/** The one way in: finds the route, answers what the route throws, and marks every answer. */
export function createRouter<Socket>(needs: RouterNeeds<Socket>): Router<Socket> {
  const routes = new Map(Object.entries(needs.routes));
  const underWay = new Set<Promise<Response>>();
  let isEnding = false;

  async function idle(): Promise<void> {
    // Once: Bun goes on reading from connections that are open, and whoever always has a request under way on one of them
    // would keep a process that is to end, and its journal, for ever.
    isEnding = true;
    await Promise.allSettled(underWay);
  }

  async function answer(req: Request, server: Bun.Server<Socket>): Promise<Response> {
    const started_ms = performance.now();
    const id = requestId(req.headers);
    // A hostile Host header makes an address that is none; HTTP/1.0, as balancers' checks speak it, needs no Host.
    const url = URL.parse(req.url, req.headers.has("host") ? undefined : "http://localhost");
    const { name, route, rest } = find(url?.pathname ?? "");
    const client = () => needs.clientOf(req, server);
    let response: Response;
    try {
      refuseAmbiguous(req);
      if (url === null) throw new Problem("invalid_request", { detail: "The Host header is not valid." });
      requireShort(url);
      response = await tracked(route, dispatch(route, { req, url, server, client, id, rest }));
    } catch (error) {
      if (error instanceof Problem) needs.onProblem({ route: name, code: error.code, id, address: client().address });
      else needs.onCrash(error, id);
      response = problem(error);
    }
    const waits = route?.any !== undefined;
    if (waits && response.status === 200 && req.headers.has("upgrade")) {
      // A websocket: its 101 is gone, and nobody will ever see this answer.
      needs.onAnswered({ route: name, status: 101, seconds: undefined });
      return response;
    }
    // The engine's own: what it refuses has become a problem.
    if (waits && response.status === 200) secure(response.headers);
    // RFC 6797 7.2: never over plain HTTP.
    if (url?.protocol === "https:") response.headers.set("Strict-Transport-Security", "max-age=31536000");
    response.headers.set("X-Request-Id", id);
    if (route?.cors === true && req.method !== "OPTIONS") needs.cors.mark(req, response.headers);
    const seconds = waits ? undefined : (performance.now() - started_ms) / 1000;
    needs.onAnswered({ route: name, status: response.status, seconds });
    return response;
  }

  function requireShort({ pathname, search }: URL): void {
    if (pathname.length + search.length <= needs.maxUrlBytes) return;
    throw new Problem("uri_too_long", {
      detail: `Path and query may have ${needs.maxUrlBytes} bytes (max_url_bytes).`,
    });
  }

  function find(path: string): { name: string; route: Route<Socket> | undefined; rest: string } {
    const exact = path.endsWith("*") ? undefined : routes.get(path);
    if (exact !== undefined) return { name: path, route: exact, rest: "" };
    const slash = path.lastIndexOf("/") + 1;
    const name = `${path.slice(0, slash)}*`;
    const route = slash < path.length ? routes.get(name) : undefined;
    return route === undefined ? { name: "(other)", route, rest: "" } : { name, route, rest: path.slice(slash) };
  }

  async function tracked(route: Route<Socket> | undefined, response: Promise<Response>): Promise<Response> {
    if (route?.any !== undefined) return response;
    underWay.add(response);
    try {
      return await response;
    } finally {
      underWay.delete(response);
    }
  }

  async function dispatch(route: Route<Socket> | undefined, exchange: Exchange<Socket>): Promise<Response> {
    if (route === undefined) throw new Problem("not_found");
    if (isEnding && route.any === undefined) throw new Problem("draining", { headers: { Connection: "close" } });
    const { req } = exchange;
    const handler = route.any ?? handlerFor(route, req.method);
    if (handler !== undefined && req.method !== "OPTIONS")
      return route.authenticates === true ? guarded(handler, exchange) : handler(exchange);
    const allowed = methodsOf(route).join(", ");
    if (req.method !== "OPTIONS") {
      throw new Problem("method_not_allowed", { detail: `Allowed here: ${allowed}.`, headers: { Allow: allowed } });
    }
    return route.cors === true ? needs.cors.preflight(req, allowed) : respond(204, null, "", { Allow: allowed });
  }

  async function guarded(handler: Handler<Socket>, exchange: Exchange<Socket>): Promise<Response> {
    needs.gate.attempt(exchange.client);
    try {
      return await handler(exchange);
    } catch (error) {
      if (error instanceof Problem && error.isGuess) needs.gate.failed(exchange.client());
      throw error;
    }
  }

  return { answer, idle };
}

function handlerFor<Socket>(route: Route<Socket>, method: string): Handler<Socket> | undefined {
  // HEAD is GET without the body (RFC 9110 9.3.2), which Bun leaves out by itself.
  if (method === "GET" || method === "HEAD") return route.GET;
  return method === "POST" ? route.POST : method === "DELETE" ? route.DELETE : undefined;
}

function methodsOf<Socket>(route: Route<Socket>): string[] {
  if (route.any !== undefined) return ["GET", "POST", "OPTIONS"];
  return [route.GET && ["GET", "HEAD"], route.POST && ["POST"], route.DELETE && ["DELETE"], ["OPTIONS"]]
    .filter((methods) => methods !== undefined)
    .flat();
}

/** The caller's own id where it is one that can go into a header and a log line as it is. */
function requestId(headers: Headers): string {
  const given = headers.get("x-request-id");
  return given !== null && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : crypto.randomUUID();
}
