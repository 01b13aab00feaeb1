import type { Gate } from "../limits/gate.ts";

/** How long connections live (RFC 9112 9). */
export interface Persistence {
  /**
   * Marks an answer. Bun closes where the client asks for it, but does not say so: agents that keep connections would use this
   * one again, and lose their next request.
   */
  mark(req: Request, answer: Headers): void;
}

/** While the gate is closed, each answer ends its connection, so that pools of connections leave before the listener does. */
export function createPersistence(gate: Pick<Gate, "isClosed">): Persistence {
  return {
    mark(req, answer) {
      if (gate.isClosed || asksToClose(req.headers)) answer.set("Connection", "close");
    },
  };
}

/** As Bun reads it. Without Host it is HTTP/1.0, whose connections Bun closes; with Host, nothing tells it from HTTP/1.1. */
function asksToClose(request: Headers): boolean {
  return /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i.test(request.get("connection") ?? "") || !request.has("host");
}
