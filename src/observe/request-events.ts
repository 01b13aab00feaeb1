import type { Counter, Histogram } from "prom-client";
import type { ProblemCode } from "../model/problem.ts";
import { about, secondsSince, type Who } from "./connection-events.ts";
import type { Log } from "./log.ts";
import type { Metrics, SharedCounters } from "./metrics.ts";
import type { Trail } from "./trail.ts";

/** HTTP requests, and the limits that they meet. */
export function requestEvents(log: Log, metrics: Metrics, { refusals, limited }: SharedCounters) {
  const requests = metrics.counter("http_requests_total", "HTTP requests by route and status.", "route", "status");
  const latency = metrics.histogram(
    "http_request_duration_seconds",
    "Time to answer an HTTP request, long polls excepted.",
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    "route",
    "status",
  );
  // prom-client finds a series by hashing its labels, at each request: routes and statuses are few, so they are kept.
  const known = new Map<string, Answers>();

  function answersOf(route: string, status: number): Answers {
    const name = `${status} ${route}`;
    const before = known.get(name);
    if (before !== undefined) return before;
    const made: Answers = { count: requests.labels({ route, status }), latency: undefined };
    known.set(name, made);
    return made;
  }

  return {
    /** `seconds` is undefined for requests that wait on purpose: long polls, and websockets. */
    answered({ route, status, seconds }: { route: string; status: number; seconds: number | undefined }): void {
      const answers = answersOf(route, status);
      answers.count.inc();
      if (seconds === undefined) return;
      answers.latency ??= latency.labels({ route, status: String(status) });
      answers.latency.observe(seconds);
    },
    refused(problem: Trail & { route: string; code: ProblemCode; reason: string; address: string }): void {
      refusals.inc({ code: problem.code });
      // A line of its own: Keycloak sends a logout once, and one that is refused may be a session that lives on.
      if (problem.route === "/backchannel-logout") log.warn("logout refused", { ...problem });
      else log.info("request refused", { ...problem }, problem.code);
    },
    /** Something that was not foreseen: a bug. */
    crashed: (error: unknown, trail?: Trail): void => log.crash(error, { ...trail }),
    /** A limit was met, by the name of its setting. */
    limited: (limit: string): void => limited.inc({ limit }),
    /** An unauthenticated connection has made way for a newer one. */
    crowdedOut(limit: string, who: Who): void {
      limited.inc({ limit });
      log.info("unauthenticated connection ended", { limit, ...about(who), reason: "a newer one took its place" });
    },
    /** A client opened an engine connection, and has never said who it is. */
    neverConnected(who: Who, reason: string, opened_ms: number): void {
      const seconds = secondsSince(opened_ms);
      log.info("connection ended before its CONNECT", { ...about(who), reason, seconds }, who.address);
    },
    /** The kernel lets no more connections wait than this. */
    acceptQueueShort(connections: number): void {
      const reason =
        "many clients that come back at once wait for seconds: set the kernel's net.core.somaxconn to 4096";
      log.warn("short accept queue", { connections, reason });
    },
    acceptQueueUnchanged: (reason: string): void => log.warn("accept queue not widened", { reason }),
    undeclaredProxy(peer: string): void {
      const reason = "it sends X-Forwarded-For: set trust_proxy_hops; until then limits per address are off for it";
      log.warn("undeclared proxy", { peer, reason });
    },
  };
}

interface Answers {
  readonly count: Counter.Internal;
  latency: Histogram.Internal<string> | undefined;
}
