import { Problem } from "../model/problem.ts";
import type { Gateway } from "./gateway.ts";
import { largestMessageBytes, type ClientLimits } from "./packets.ts";

type Handle = Gateway["handle"];

export interface HandshakeNeeds {
  readonly handle: Handle;
  /** Throws what says that there is no room, or that this client has to wait. */
  readonly admit: (req: Request, server: Parameters<Handle>[1], transport: "polling" | "websocket") => void;
  readonly isDraining: () => boolean;
  readonly allowsOrigin: (req: Request) => boolean;
  /** Reads a body, or throws `too_large`. */
  readonly readText: (req: Request, limitBytes: number, setting: string) => Promise<string>;
  readonly clientLimits: ClientLimits;
  /** How long a poll is left unanswered when there is nothing to say: until the next heartbeat. */
  readonly longestPoll_ms: number;
}

/**
 * What is judged before the engine sees a request: everything here refuses "for now", with an HTTP status after which a
 * stock client tries again, or is no request of a stock client at all.
 */
export function createHandshake(
  needs: HandshakeNeeds,
): (req: Request, server: Parameters<Handle>[1], url: URL) => Promise<Response> {
  const mostBytes = largestMessageBytes(needs.clientLimits);
  // Bun counts in steps of 4 s, so that a timeout may come as much too early; and no further than 255.
  const poll_seconds = Math.min(255, Math.ceil(needs.longestPoll_ms / 1000) + 5);

  return async function handshake(req, server, url) {
    if (!URL.canParse(req.url)) throw new Problem("invalid_request", { detail: "A Host header is needed here." });
    // Browsers send Origin with a websocket upgrade but enforce nothing: without this any page could open one.
    if (!needs.allowsOrigin(req)) throw new Problem("origin_forbidden");
    const query = url.searchParams;
    const upgrades = req.headers.get("upgrade")?.toLowerCase() === "websocket";
    // The engine goes by the header alone, and would open a polling session for `transport=websocket` without it.
    if (upgrades !== (query.get("transport") === "websocket")) {
      throw new Problem("invalid_request", {
        detail: "`transport` has to be what the request is: polling, or websocket.",
      });
    }
    if (!query.get("sid")) {
      if (needs.isDraining()) throw new Problem("draining");
      needs.admit(req, server, upgrades ? "websocket" : "polling");
    }
    // The engine would try to follow any other upgrade, h2c for example, which is only an offer.
    if (!upgrades) req.headers.delete("upgrade");
    if (req.method === "GET" && !upgrades) server.timeout(req, poll_seconds);
    const response = await handled(req.method === "POST" ? await bounded(req) : req, server);
    return response.status < 400 ? response : refuse(response);
  };

  async function handled(req: Request, server: Parameters<Handle>[1]): Promise<Response> {
    try {
      return await needs.handle(req, server);
    } catch (error) {
      if (!req.signal.aborted) throw error;
      throw new Problem("invalid_request", { detail: "The body ended before it was complete." });
    }
  }

  /** The engine reads a body to its end before it judges its size: only one that declares a fair size may go in as it is. */
  async function bounded(req: Request): Promise<Request> {
    const declared = req.headers.get("content-length");
    if (declared !== null && Number(declared) <= mostBytes) return req;
    const body = await needs.readText(req, mostBytes, "max_client_bytes");
    return new Request(req.url, { method: "POST", headers: req.headers, body });
  }
}

/** The engine's refusals in the form that all of ours have. */
async function refuse(response: Response): Promise<never> {
  const reason = /"message":"([A-Za-z ]+)"/.exec(await response.text())?.[1];
  const code = response.status === 413 ? "too_large" : "invalid_request";
  throw new Problem(code, { detail: reason ?? "This is not an Engine.IO request that can be answered." });
}
