import type { EngineSocket } from "./connection.ts";

/** `max_decode_packets` of python-engineio. */
const most = 16;

/** As its HTTP libraries name themselves: `python-requests/2.34.2`, `Python/3.11 aiohttp/3.12.1`. */
const python = /^python/i;

/**
 * Gives a Python client that polls no more packets in one answer than its library takes. Of more, it drops all and starts anew:
 * where recovery brings them back, for ever. Other clients take any number, and get what waits at once, however far they are.
 */
export function limitPollAnswers(conn: EngineSocket, userAgent: string | null): void {
  if (conn.transport.name !== "polling" || !python.test(userAgent ?? "")) return;
  const flush = conn["flush"].bind(conn);
  conn["flush"] = () => {
    const { transport, readyState } = conn;
    const waiting = conn["writeBuffer"];
    if (transport.name !== "polling" || waiting.length <= most) flush();
    // The engine says that everything is gone (`drain`) after the last of them.
    else if (readyState !== "closed" && transport.writable) transport.send(waiting.splice(0, most));
  };
}
