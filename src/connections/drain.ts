import type { ClosingCode } from "../model/refusal.ts";
import type { Connection } from "./connection.ts";
import type { Registry } from "./registry.ts";

const tick_ms = 100;
const poll_ms = 20;
const longestPoll_ms = 1000;

interface DrainNeeds {
  readonly registry: Registry<Connection>;
  readonly close: (connection: Connection, code: ClosingCode) => void;
}

/**
 * Ends the long-polling connections, which cannot live without a listener: before it goes, they get what waits for them,
 * `closing` included, with the poll that is there or about to come.
 */
export async function drainPolling({ registry, close }: DrainNeeds): Promise<void> {
  const polling = registry
    .all()
    .filter(({ ws }) => ws === null)
    .toArray();
  for (const connection of polling) close(connection, "draining");
  for (let waited_ms = 0; waited_ms < longestPoll_ms; waited_ms += poll_ms) {
    if (polling.every(({ engine }) => engine.readyState === "closed")) return;
    await Bun.sleep(poll_ms);
  }
}

/**
 * Ends all connections, evenly over the given time: thousands of clients that come back in the same moment would hit the
 * successor like an attack. Returns as soon as nobody is left.
 */
export async function drain({ registry, close, seconds }: DrainNeeds & { seconds: number }): Promise<void> {
  const all = registry.size;
  const ticks = Math.max(1, (seconds * 1000) / tick_ms);
  for (let tick = 1; registry.size > 0; tick++) {
    const mayRemain = Math.floor(all * Math.max(0, 1 - tick / ticks));
    // At least one at the first tick: whoever is alone need not wait.
    const share = Math.max(registry.size - mayRemain, tick === 1 ? 1 : 0);
    for (const connection of registry.all().take(share).toArray()) close(connection, "draining");
    if (registry.size > 0) await Bun.sleep(tick_ms);
  }
}
