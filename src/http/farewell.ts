import type { Listener } from "./exchange.ts";

const longest_ms = 1000;
const look_ms = 10;
const flush_ms = 100;

/**
 * Gives the last answers and close frames their time: polls that carry `closing`, for example. What strangers hold open beside
 * them, half a request, gets no more than what is written needs to leave.
 *
 * @param empty resolves when no connection is left.
 */
export async function farewell(
  server: Pick<Listener, "pendingRequests" | "pendingWebSockets">,
  empty: Promise<void>,
): Promise<void> {
  for (let waited_ms = 0; waited_ms < longest_ms; waited_ms += look_ms) {
    if (server.pendingRequests === 0 && server.pendingWebSockets === 0) break;
    await Bun.sleep(look_ms);
  }
  await Promise.race([empty, Bun.sleep(flush_ms)]);
}
