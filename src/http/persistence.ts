import type { Gate } from "../limits/gate.ts";
import type { Settings } from "../settings/schema.ts";
import type { Listener } from "./exchange.ts";
import { hasBody } from "./framing.ts";

/**
 * A request has to be there within this time, however it drips. (For its head Bun has 10 s of its own, but only on a new
 * connection: afterwards it may drip for as long as the connection may be idle.)
 */
export const idle_seconds = 10;

/** Bun counts in steps of 4 s, up to which a timeout comes too early. Above that, so that the client leaves first. */
const grace_seconds = 5;

/** How long connections live (RFC 9112 9). */
export interface Persistence {
  /** A request has come. */
  begin(req: Request, server: Listener): void;
  /**
   * Marks an answer, and says how long its connection may be idle. True: for `keep_alive_seconds`.
   *
   * @param isTrusted the request brought a valid credential.
   */
  mark(req: Request, server: Listener, answer: Headers, isTrusted: boolean): boolean;
  /** From now on each answer of this server ends its connection. After `longest_ms` nobody uses another one any more. */
  end(server: Listener): void;
  readonly longest_ms: number;
}

/**
 * Connections of strangers end soon, for what they may hold up is a connection; those of declared proxies, and of senders of
 * valid credentials, are kept for longer than pools keep them, so that no call is sent on a connection that is about to end.
 */
export function createPersistence(
  { keep_alive_seconds, trust_proxy_hops }: Pick<Settings, "keep_alive_seconds" | "trust_proxy_hops">,
  gate: Pick<Gate, "isClosed">,
): Persistence {
  const ended = new WeakSet<Listener>();
  const isOfProxy = ({ headers }: Request): boolean => trust_proxy_hops > 0 && headers.has("x-forwarded-for");

  return {
    begin(req, server) {
      // The proxy is trusted, but passes the bodies of strangers, some as they come.
      if (isOfProxy(req) && hasBody(req.headers)) server.timeout(req, idle_seconds);
    },
    mark(req, server, answer, isTrusted) {
      if (gate.isClosed || ended.has(server) || asksToClose(req.headers)) {
        // Bun closes where the client asks for it, but does not say so: agents that keep connections would use this one again.
        answer.set("Connection", "close");
        return false;
      }
      if (answer.has("Connection") || !(isTrusted || isOfProxy(req))) return false;
      server.timeout(req, keep_alive_seconds + grace_seconds);
      answer.set("Connection", "keep-alive");
      answer.set("Keep-Alive", `timeout=${keep_alive_seconds}`);
      return true;
    },
    end: (server) => void ended.add(server),
    longest_ms: (keep_alive_seconds + grace_seconds + idle_seconds) * 1000,
  };
}

/** As Bun reads it, which closes after the answer. Without Host it is HTTP/1.0, whose connections Bun closes; with Host, nothing tells it from HTTP/1.1. */
export function asksToClose(request: Headers): boolean {
  return /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i.test(request.get("connection") ?? "") || !request.has("host");
}
