import type { Gate } from "../limits/gate.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";
import type { Callers, Cors } from "./cors.ts";
import { draining, type Ending } from "./ending.ts";
import type { Exchange } from "./exchange.ts";
import { respond } from "./respond.ts";

export type Handler = (exchange: Exchange) => Response | Promise<Response>;

export interface Route {
  readonly GET?: Handler;
  readonly POST?: Handler;
  readonly DELETE?: Handler;
  /** Undefined: no pages of other origins, whatever `cors_origins` says. */
  readonly pages?: Callers;
  /** Answers 200 to valid credentials only. */
  readonly guarded?: boolean;
}

/** By path, as `Bun.serve` writes them: the last segment may be a `:name`, which stands for any one segment. */
export type RouteTable = Readonly<Record<string, Route>>;

export interface Router {
  /** @param route undefined: the path leads nowhere. */
  dispatch(route: Route | undefined, exchange: Exchange): Promise<Response>;
  /** Refuses what comes, or is still coming, from now on, and resolves when no request is under way. */
  end(): Promise<void>;
}

export function createRouter(
  { base_path }: Pick<Settings, "base_path">,
  { gate, cors, ending }: { readonly gate: Pick<Gate, "failed">; readonly cors: Cors; readonly ending: Ending },
): Router {
  const underWay = new Set<Promise<Response>>();

  async function dispatch(route: Route | undefined, exchange: Exchange): Promise<Response> {
    const response = handle(route, exchange);
    underWay.add(response);
    try {
      return await response;
    } finally {
      underWay.delete(response);
    }
  }

  async function handle(route: Route | undefined, exchange: Exchange): Promise<Response> {
    if (route === undefined) throw nothingAt(exchange.url);
    // Bun goes on reading from connections that are open, and a client that always has a request under way on one of them
    // would keep a process that is to end, and its journal, for ever.
    if (ending.hasBegun) throw draining();
    const { req } = exchange;
    const allowed = methodsOf(route).join(", ");
    if (req.method === "OPTIONS") {
      return route.pages !== undefined ? cors.preflight(exchange, allowed) : respond(204, null, "", { Allow: allowed });
    }
    // Before anything is judged or counted: what a page makes a browser send must not be held against its user's address.
    cors.requireOrigin(route.pages, exchange);
    const handler = handlerFor(route, req.method);
    if (handler === undefined) {
      throw new Problem("method_not_allowed", { detail: `Allowed here: ${allowed}.`, headers: { Allow: allowed } });
    }
    try {
      return await handler(exchange);
    } catch (error) {
      throw error instanceof Guess ? (gate.failed(exchange.client()) ?? error) : error;
    }
  }

  function nothingAt({ pathname }: URL): Problem {
    if (pathname.startsWith(`${base_path}/`)) return new Problem("not_found");
    return new Problem("not_found", {
      detail: `There is nothing at this address: all is below ${base_path}/ (base_path).`,
    });
  }

  async function end(): Promise<void> {
    ending.begin();
    await Promise.allSettled(underWay);
  }

  return { dispatch, end };
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
