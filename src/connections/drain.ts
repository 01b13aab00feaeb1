import type { Journal } from "../journal/journal.ts";
import type { Settings } from "../settings/schema.ts";
import type { Members } from "./members.ts";
import { evenly } from "./pacing.ts";

const poll_ms = 20;
const longestPoll_ms = 1000;

/**
 * Ends the long-polling connections, which cannot live without a listener: before it goes, they get what waits for them,
 * `closing` included, with the poll that is there or about to come.
 */
export async function drainPolling(members: Members): Promise<void> {
  const polling = members
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
  { members, journal }: { readonly members: Members; readonly journal: Pick<Journal, "isTakenOver"> },
): Promise<void> {
  const isPaced = members.size > 0 && drain_seconds > 0 && (await journal.isTakenOver());
  await evenly(isPaced ? drain_seconds : 0, {
    left: () => members.size,
    end(share) {
      for (const connection of members.all().take(share).toArray()) members.close(connection, "draining");
    },
  });
}
