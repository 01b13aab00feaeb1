import type { Gate } from "../limits/gate.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { Cors } from "./cors.ts";
import { draining, type Ending } from "./ending.ts";
import type { Exchange } from "./exchange.ts";
import { respond } from "./respond.ts";

/** `rest`: what stands in place of the `*` of a route. */
export type Handler = (exchange: Exchange, rest: string) => Response | Promise<Response>;

export interface Route {
  readonly GET?: Handler;
  readonly POST?: Handler;
  readonly DELETE?: Handler;
  /** It judges a key or a token: an address that brings too many bad ones has to wait. */
  readonly authenticates?: boolean;
  /** Pages of other origins may call it, and read the answer. */
  readonly cors?: boolean;
}

/** Where a path leads. */
export interface Found {
  /** For logs and metrics. */
  readonly name: string;
  readonly route: Route | undefined;
  readonly rest: string;
}

export interface Router {
  find(path: string): Found;
  dispatch(found: Found, exchange: Exchange): Promise<Response>;
  /** Refuses what comes, or is still coming, from now on, and resolves when no request is under way. */
  end(): Promise<void>;
}

/** @param table by path; one that ends in `*` takes one more segment, whatever it is. */
export function createRouter(
  table: Readonly<Record<string, Route>>,
  {
    gate,
    cors,
    ending,
  }: { readonly gate: Pick<Gate, "attempt" | "failed">; readonly cors: Cors; readonly ending: Ending },
): Router {
  const routes = new Map(Object.entries(table));
  const underWay = new Set<Promise<Response>>();

  function find(path: string): Found {
    const exact = path.endsWith("*") ? undefined : routes.get(path);
    if (exact !== undefined) return { name: path, route: exact, rest: "" };
    const slash = path.lastIndexOf("/") + 1;
    const name = `${path.slice(0, slash)}*`;
    const route = slash < path.length ? routes.get(name) : undefined;
    return route === undefined ? { name: "(other)", route, rest: "" } : { name, route, rest: path.slice(slash) };
  }

  async function dispatch(found: Found, exchange: Exchange): Promise<Response> {
    const response = handle(found, exchange);
    underWay.add(response);
    try {
      return await response;
    } finally {
      underWay.delete(response);
    }
  }

  async function handle({ route, rest }: Found, exchange: Exchange): Promise<Response> {
    if (route === undefined) throw new Problem("not_found");
    // Bun goes on reading from connections that are open, and a client that always has a request under way on one of them
    // would keep a process that is to end, and its journal, for ever.
    if (ending.hasBegun) throw draining();
    const { req } = exchange;
    const allowed = methodsOf(route).join(", ");
    if (req.method === "OPTIONS") {
      return route.cors === true ? cors.preflight(req, allowed) : respond(204, null, "", { Allow: allowed });
    }
    const handler = handlerFor(route, req.method);
    if (handler === undefined) {
      throw new Problem("method_not_allowed", { detail: `Allowed here: ${allowed}.`, headers: { Allow: allowed } });
    }
    return route.authenticates === true ? guarded(handler, exchange, rest) : handler(exchange, rest);
  }

  async function guarded(handler: Handler, exchange: Exchange, rest: string): Promise<Response> {
    gate.attempt(exchange.client);
    try {
      return await handler(exchange, rest);
    } catch (error) {
      if (error instanceof Guess) gate.failed(exchange.client());
      throw error;
    }
  }

  async function end(): Promise<void> {
    ending.begin();
    await Promise.allSettled(underWay);
  }

  return { find, dispatch, end };
}

function handlerFor(route: Route, method: string): Handler | undefined {
  // HEAD is GET without the body (RFC 9110 9.3.2), which Bun leaves out by itself.
  if (method === "GET" || method === "HEAD") return route.GET;
  return method === "POST" ? route.POST : method === "DELETE" ? route.DELETE : undefined;
}

function methodsOf(route: Route): string[] {
  return [route.GET && ["GET", "HEAD"], route.POST && ["POST"], route.DELETE && ["DELETE"], ["OPTIONS"]]
    .filter((methods) => methods !== undefined)
    .flat();
}
