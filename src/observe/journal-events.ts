import type { Cursor } from "../model/cursor.ts";
import type { Target } from "../model/entry.ts";
import type { KeycloakId } from "../model/names.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Trail } from "./trail.ts";

/** What a receipt says. */
interface Accepted {
  readonly id: Cursor;
  readonly connections: number;
  readonly offline: readonly KeycloakId[];
  readonly held: boolean;
}

/** Notifications, and the journal that keeps them. */
export function journalEvents(log: Log, metrics: Metrics) {
  const notifications = metrics.counter(
    "notifications_total",
    "Accepted notifications by kind of target and API key.",
    "kind",
    "key",
  );
  const deliveries = metrics.counter("deliveries_total", "Notifications handed to a connection.");
  const released = metrics.counter("held_released_total", "Held notifications that wait no more, by reason.", "reason");
  const entries = metrics.counter("journal_entries_total", "Entries made durable.");
  const commits = metrics.histogram(
    "journal_commit_seconds",
    "Time of a commit of the journal.",
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5],
  );

  return {
    notified({ id, connections, offline, held }: Accepted, target: Target, trail: Trail): void {
      const kind = kindOf(target);
      const { key = "" } = trail;
      notifications.inc({ kind, key });
      deliveries.inc(connections);
      // What reaches nobody, operators are asked about: what reaches somebody does not use up its lines.
      const whom = { keycloak: target.users, channel: target.channels };
      log.info("notified", { ...trail, ...whom, id, kind, connections, offline, held }, `${key} ${connections > 0}`);
    },
    /** The same Idempotency-Key again: `id` was sent before, and nothing now. */
    repeated(id: Cursor, trail: Trail): void {
      log.info("notification repeated", { ...trail, id }, trail.key);
    },
    released: (reason: "confirmed" | "expired", count: number): void => released.inc({ reason }, count),
    waiting: (owner: string): void => log.info("waiting for the journal", { owner }),
    failed: (reason: string): void => log.error("journal fails", { reason }),
    recovered: (): void => log.info("journal recovered"),
    committed(seconds: number, count: number): void {
      entries.inc(count);
      commits.observe(seconds);
    },
  };
}

function kindOf(target: Target): "channel" | "user" | "user_channel" {
  if (target.users === undefined) return "channel";
  return target.channels === undefined ? "user" : "user_channel";
}
