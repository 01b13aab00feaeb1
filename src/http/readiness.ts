import type { Realms } from "../authorize/realms.ts";
import type { Clock } from "../clock/clock.ts";
import type { Journal } from "../journal/journal.ts";
import type { Gate } from "../limits/gate.ts";
import type { Check } from "../model/check.ts";
import { Problem } from "../model/problem.ts";
import type { Descriptors } from "./descriptors.ts";

export interface ReadinessNeeds {
  readonly journal: Pick<Journal, "health">;
  readonly gate: Pick<Gate, "isClosed">;
  readonly realms: Realms | undefined;
  readonly clock: Pick<Clock, "health">;
  readonly descriptors: Pick<Descriptors, "health">;
}

/** The answer of `GET /health/ready` when it is. */
export interface Ready {
  readonly status: "ready" | "degraded";
  readonly reasons: readonly string[];
}

/** Fails fast, unlike liveness: a node that is not ready gets no new work, but nobody restarts it. Throws `unavailable`. */
export function readiness({ journal, gate, realms, clock, descriptors }: ReadinessNeeds): Ready {
  const checks: readonly Check[] = [
    { name: "draining", status: gate.isClosed ? "unavailable" : "ok" },
    { name: "journal", ...journal.health() },
    clock.health(),
    descriptors.health(),
    ...(realms?.health() ?? []),
  ];
  const reasonsOf = (status: Check["status"]) =>
    checks
      .filter((check) => check.status === status)
      .map(({ name, reason }) => (reason === undefined ? name : `${name}: ${reason}`));
  const failing = reasonsOf("unavailable");
  if (failing.length > 0) {
    throw new Problem("unavailable", { detail: "The service is not ready.", members: { reasons: failing } });
  }
  const reasons = reasonsOf("degraded");
  return { status: reasons.length > 0 ? "degraded" : "ready", reasons };
}
