import type { Journal } from "../journal/journal.ts";
import type { Settings } from "../settings/schema.ts";
import type { Connection } from "./connection.ts";
import type { Members } from "./members.ts";
import type { Registry } from "./registry.ts";

const tick_ms = 100;
const poll_ms = 20;
const longestPoll_ms = 1000;

interface DrainNeeds {
  readonly registry: Registry<Connection>;
  readonly members: Members;
}

/**
 * Ends the long-polling connections, which cannot live without a listener: before it goes, they get what waits for them,
 * `closing` included, with the poll that is there or about to come.
 */
export async function drainPolling({ registry, members }: DrainNeeds): Promise<void> {
  const polling = registry
    .all()
    .filter(({ ws }) => ws === null)
    .toArray();
  for (const connection of polling) members.close(connection, "draining");
  for (let waited_ms = 0; waited_ms < longestPoll_ms; waited_ms += poll_ms) {
    if (polling.every(({ engine }) => engine.readyState === "closed")) return;
    await Bun.sleep(poll_ms);
  }
}

/**
 * Ends all connections. Where a successor is there to take them, evenly over `drain_seconds`: thousands of clients that come back
 * in the same moment would hit it like an attack. Otherwise at once, because each moment of it is one in which nobody is notified:
 * whoever starts the successor waits for the end of this process, and the clients' own delays spread them. Returns as soon as
 * nobody is left.
 */
export async function drain(
  { drain_seconds }: Pick<Settings, "drain_seconds">,
  { registry, members, journal }: DrainNeeds & { readonly journal: Pick<Journal, "isTakenOver"> },
): Promise<void> {
  const isPaced = registry.size > 0 && drain_seconds > 0 && (await journal.isTakenOver());
  const all = registry.size;
  const ticks = isPaced ? Math.max(1, (drain_seconds * 1000) / tick_ms) : 1;
  for (let tick = 1; registry.size > 0; tick++) {
    const mayRemain = Math.floor(all * Math.max(0, 1 - tick / ticks));
    const share = Math.max(0, registry.size - mayRemain);
    for (const connection of registry.all().take(share).toArray()) members.close(connection, "draining");
    if (registry.size > 0) await Bun.sleep(tick_ms);
  }
}
