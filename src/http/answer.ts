import type { Clients } from "../limits/address.ts";
import type { Gate } from "../limits/gate.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { Cors } from "./cors.ts";
import { enginePath, type EngineRoute } from "./engine.ts";
import type { Ending } from "./ending.ts";
import type { Exchange, Listener } from "./exchange.ts";
import { refuseAmbiguous } from "./framing.ts";
import { requireShort, type HeadLimits } from "./head.ts";
import type { Owners } from "./owners.ts";
import { asksToClose, createPersistence, type Persistence } from "./persistence.ts";
import { detailOf, problem, secure } from "./respond.ts";
import { createDropRest } from "./rest.ts";
import type { Route, Router, RouteTable } from "./router.ts";
import { trailOf } from "./trail.ts";

/** The way in: `routes` and `fetch` as `Bun.serve` takes them. */
export interface Answers {
  /**
   * By path. Bun compares them with the path as it was sent, byte by byte, while `req.url` is what becomes of it when dots,
   * backslashes and escapes are resolved: by that, whoever may call `/socket.io/` through a proxy could call `/notify`, too.
   */
  readonly routes: Readonly<Record<string, (req: Bun.BunRequest, server: Listener) => Promise<Response>>>;
  /** Any other path. */
  readonly fetch: (req: Request, server: Listener) => Promise<Response>;
  readonly persistence: Persistence;
}

/** Where a path leads. */
interface Place {
  /** Below `base_path`: for logs and metrics, too. */
  readonly name: string;
  /** Undefined: to the engine, or nowhere. */
  readonly route?: Route;
}

const engineRoute: Place = { name: enginePath };
const nowhere: Place = { name: "(other)" };

export type AnswerSettings = HeadLimits &
  Pick<Settings, "base_path" | "max_body_bytes" | "keep_alive_seconds" | "trust_proxy_hops">;

/** The one way in: to the engine or to a route, answers what they throw, and marks every answer. */
export function createAnswers(
  settings: AnswerSettings,
  needs: {
    readonly table: RouteTable;
    readonly router: Router;
    readonly engine: EngineRoute;
    readonly gate: Pick<Gate, "isClosed">;
    readonly clients: Clients;
    readonly owners: Pick<Owners, "began" | "ended" | "kept">;
    readonly ending: Ending;
    readonly cors: Cors;
    readonly events: Pick<Events["requests"], "answered" | "refused" | "crashed">;
  },
): Answers {
  const { table, router, engine, clients, owners, ending, cors, events } = needs;
  const persistence = createPersistence(settings, needs.gate);
  const dropRest = createDropRest(settings, ending);

  async function answer(place: Place, req: Request, param: string, server: Listener): Promise<Response> {
    owners.began(req, server);
    try {
      return await make(place, req, param, server);
    } finally {
      owners.ended(req);
    }
  }

  async function make(place: Place, req: Request, param: string, server: Listener): Promise<Response> {
    const started_ms = performance.now();
    const trail = trailOf(req.headers);
    const client = () => clients.of(req, server);
    // A hostile Host header makes an address that is none; HTTP/1.0, as balancers' checks speak it, needs no Host.
    const url = URL.parse(req.url, req.headers.has("host") ? undefined : "http://localhost");
    const isEngine = place === engineRoute;
    const route = place.name;
    let response: Response;
    persistence.begin(req, server);
    try {
      refuseAmbiguous(req);
      if (url === null) throw new Problem("invalid_request", { detail: "The Host header is not valid." });
      requireShort(settings, url, req.headers);
      const exchange: Exchange = { req, url, param, server, client, ending, trail };
      response = await (isEngine ? engine(exchange) : router.dispatch(place.route, exchange));
    } catch (error) {
      if (error instanceof Problem) {
        events.refused({ route, code: error.code, reason: detailOf(error), ...trail, address: client().address });
      } else {
        events.crashed(error, trail);
      }
      response = problem(error, req.headers);
    }
    if (isEngine && response.status === 200) {
      if (req.headers.has("upgrade")) {
        // A websocket: its 101 is gone, and nobody will ever see this answer.
        events.answered({ route, status: 101, seconds: undefined });
        return response;
      }
      // The engine's own: what it refuses has become a problem.
      secure(response.headers);
    }
    // RFC 6797 7.2: never over plain HTTP.
    if (url?.protocol === "https:") response.headers.set("Strict-Transport-Security", "max-age=31536000");
    response.headers.set("X-Request-Id", trail.requestId);
    // As GET has it (RFC 9110 9.3.2), where Bun leaves it out.
    if (req.method === "HEAD") response.headers.set("Date", new Date().toUTCString());
    // A poll waits on purpose.
    const seconds = isEngine ? undefined : (performance.now() - started_ms) / 1000;
    // Where the answer itself ends the connection, that is for what follows on it.
    if (asksToClose(req.headers) && !response.headers.has("Connection")) await dropRest(req);
    const isTrusted = place.route?.guarded === true && response.status === 200;
    if (persistence.mark(req, server, response.headers, isTrusted)) owners.kept(req, server);
    if ((isEngine || place.route?.pages !== undefined) && req.method !== "OPTIONS")
      cors.mark({ req, server }, response.headers);
    events.answered({ route, status: response.status, seconds });
    return response;
  }

  function routeTo(place: Place): Answers["routes"][string] {
    const [, name] = /:(\w+)$/.exec(place.name) ?? [];
    if (name === undefined) return (req, server) => answer(place, req, "", server);
    return (req, server) => answer(place, req, req.params[name] ?? "", server);
  }

  const places = [engineRoute, ...Object.entries(table).map(([name, route]) => ({ name, route }))];
  return {
    routes: Object.fromEntries(places.map((place) => [settings.base_path + place.name, routeTo(place)])),
    fetch: (req, server) => answer(nowhere, req, "", server),
    persistence,
  };
}
