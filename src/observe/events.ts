import { accessEvents } from "./access-events.ts";
import { clockEvents } from "./clock-events.ts";
import { connectionEvents } from "./connection-events.ts";
import { journalEvents } from "./journal-events.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { processEvents } from "./process-events.ts";
import { requestEvents } from "./request-events.ts";
import { tlsEvents } from "./tls-events.ts";

/** What the rooms report: each event is one function, which writes its log line and moves its counters. */
export function createEvents(log: Log, metrics: Metrics) {
  const shared = {
    refusals: metrics.counter("refusals_total", "Refused connections and requests by code.", "code"),
    limited: metrics.counter(
      "limited_total",
      "Requests refused and connections closed by a limit, by its setting.",
      "limit",
    ),
  };
  return {
    access: accessEvents(log, metrics),
    clock: clockEvents(log, metrics),
    connections: connectionEvents(log, metrics, shared),
    journal: journalEvents(log, metrics),
    process: processEvents(log, shared),
    requests: requestEvents(log, metrics, shared),
    tls: tlsEvents(log),
  };
}

export type Events = ReturnType<typeof createEvents>;
