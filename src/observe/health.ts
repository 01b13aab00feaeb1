import { Problem } from "../model/problem.ts";

/** One thing that the service needs. */
export interface Check {
  readonly name: string;
  /** `degraded`: it still works, with less margin. */
  readonly status: "ok" | "degraded" | "unavailable";
  readonly reason?: string | undefined;
}

/** The answer of `GET /health/ready` when it is. */
export interface Ready {
  readonly status: "ready" | "degraded";
  readonly reasons: readonly string[];
}

/** Fails fast, unlike liveness: a node that is not ready gets no new work, but nobody restarts it. */
export function ready(checks: readonly Check[]): Ready {
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
