import { largestMessage_bytes, type ClientLimits } from "../connections/packets.ts";
import { whoOn, type Sessions } from "../connections/sessions.ts";
import type { Gateway } from "../connections/gateway.ts";
import type { Gate } from "../limits/gate.ts";
import { Problem } from "../model/problem.ts";
import { about } from "../observe/connection-events.ts";
import type { Settings } from "../settings/schema.ts";
import { readText } from "./body.ts";
import type { Cors } from "./cors.ts";
import type { Descriptors } from "./descriptors.ts";
import type { Exchange } from "./exchange.ts";
import { idle_seconds } from "./persistence.ts";

/** Engine.IO's only path: everything else below it is a file of the client. */
export const enginePath = "/socket.io/";

const methods = "GET, POST, OPTIONS";

const details = {
  polling:
    "This asks for a websocket, but with a `transport` in its query that is none: `transport` has to be websocket.",
  websocket:
    "This says `transport=websocket`, but comes without the header `Upgrade: websocket`: where a client sent it, a proxy in" +
    " between has to pass it on.",
  /** The engine would say that it does not support the version, but not what to do. */
  tooOld:
    "Clients of Socket.IO 2 and before (EIO=3) cannot connect: use socket.io-client 4, or another client for Socket.IO 3 or 4.",
} as const;

export type EngineSettings = ClientLimits & Pick<Settings, "ping_interval_ms" | "ping_timeout_ms">;

export type EngineRoute = (exchange: Exchange) => Promise<Response>;

/**
 * What is judged before the engine sees a request: everything here refuses "for now", with an HTTP status after which a
 * stock client tries again, or is no request of a stock client at all.
 */
export function createEngineRoute(
  settings: EngineSettings,
  needs: {
    readonly gateway: Pick<Gateway, "handle" | "polled" | "polling" | "posted">;
    readonly gate: Pick<Gate, "handshake">;
    readonly sessions: Pick<Sessions, "requireRoom">;
    readonly descriptors: Pick<Descriptors, "requireRoom">;
    readonly cors: Cors;
  },
): EngineRoute {
  const { gateway, gate, sessions, descriptors, cors } = needs;
  const most_bytes = largestMessage_bytes(settings);
  // Until the next heartbeat there may be nothing to say. Bun counts in steps of 4 s, so that a timeout may come as much too
  // early; and no further than 255.
  const poll_seconds = Math.min(255, Math.ceil((settings.ping_interval_ms + settings.ping_timeout_ms) / 1000) + 5);

  return async function engine(exchange) {
    const { searchParams: query } = exchange.url;
    // An empty `sid` is a handshake for the engine, too.
    const sid = query.get("sid") ?? "";
    const session = gateway.polling(sid);
    try {
      return await judge(exchange, query, sid);
    } catch (error) {
      const transport = query.get("transport") === "websocket" ? "websocket" : "polling";
      Object.assign(exchange.trail, session === undefined ? { transport } : about(whoOn(session)));
      throw error;
    }
  };

  async function judge(exchange: Exchange, query: URLSearchParams, sid: string): Promise<Response> {
    const { req, server } = exchange;
    if (req.method === "OPTIONS") return cors.preflight(exchange, methods);
    if (!URL.canParse(req.url)) throw new Problem("invalid_request", { detail: "A Host header is needed here." });
    // Browsers send Origin with a websocket upgrade but enforce nothing: without this any page could open one.
    cors.requireOrigin("listed", exchange);
    const upgrades = req.headers.get("upgrade")?.toLowerCase() === "websocket";
    // The engine goes by the header alone, and would open a polling session for `transport=websocket` without it.
    if (upgrades !== (query.get("transport") === "websocket")) {
      throw new Problem("invalid_request", { detail: upgrades ? details.polling : details.websocket });
    }
    if (sid === "") {
      requireRoom(exchange, upgrades);
      if (query.get("EIO") === "3") throw new Problem("invalid_request", { detail: details.tooOld });
    }
    // The engine would try to follow any other upgrade, h2c for example, which is only an offer.
    if (!upgrades) req.headers.delete("upgrade");
    const polls = req.method === "GET" && !upgrades;
    if (polls) {
      server.timeout(req, poll_seconds);
      gateway.polled(sid, query.get("t") ?? "");
    }
    // What no session waits for, the engine refuses by its `sid`, before it reads a byte of the body.
    const isData = req.method === "POST" && gateway.polling(sid) !== undefined;
    const response = await (isData ? posted(exchange, sid) : gateway.handle(req, server));
    // Otherwise the connection would be kept for as long, and its next head could drip.
    if (polls) server.timeout(req, idle_seconds);
    return response.status < 400 ? response : refuse(response);
  }

  /** A handshake: cheapest first. */
  function requireRoom({ client }: Exchange, upgrades: boolean): void {
    gate.handshake(client());
    descriptors.requireRoom();
    sessions.requireRoom(client().key, upgrades ? "websocket" : "polling");
  }

  /** The engine would read a body to its end before it judges its size. */
  function posted(exchange: Exchange, sid: string): Promise<Response> {
    const { req, server } = exchange;
    return gateway.posted(sid, async () => {
      const body = await readText(exchange, most_bytes, "max_client_bytes");
      return gateway.handle(new Request(req.url, { method: "POST", headers: req.headers, body }), server);
    });
  }
}

/** The engine's refusals in the form that all of ours have. */
async function refuse(response: Response): Promise<never> {
  const reason = /"message":"([A-Za-z ]+)"/.exec(await response.text())?.[1];
  const code = response.status === 413 ? "too_large" : "invalid_request";
  throw new Problem(code, { detail: reason ?? "This is not an Engine.IO request that can be answered." });
}
