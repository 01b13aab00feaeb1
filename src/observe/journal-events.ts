import type { Cursor } from "../model/cursor.ts";
import type { Target } from "../model/entry.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";

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
    notified(accepted: {
      id: Cursor;
      target: Target;
      connections: number;
      held: boolean;
      key: string;
      requestId: string;
    }): void {
      const { target, ...fields } = accepted;
      const kind = kindOf(target);
      notifications.inc({ kind, key: accepted.key });
      deliveries.inc(accepted.connections);
      log.info("notified", { ...fields, kind });
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
