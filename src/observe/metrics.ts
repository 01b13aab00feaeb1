import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Target } from "../model/entry.ts";
import { describeProcess, measureLag } from "./process.ts";

/** What the service tells about itself at the moment of a scrape. */
export interface Readings {
  readonly sessions: () => { readonly all: number; readonly unauthenticated: number };
  readonly polling: () => number;
  readonly users: () => number;
  readonly channels: () => Iterable<readonly [channel: string, connections: number]>;
  readonly window: () => { readonly entries: number; readonly bytes: number; readonly age_seconds: number };
  readonly journalBytes: () => number;
  readonly held: () => { readonly count: number; readonly bytes: number };
  readonly revocations: () => { readonly inForce: number; readonly unsaved: number };
  /** When the keys in use of a realm were fetched, by realm; undefined: there are none. */
  readonly realms: () => Iterable<{ readonly name: string; readonly age_seconds: number | undefined }>;
}

export interface Metrics {
  notified(target: Target, connections: number, key: string): void;
  authorized(through: string): void;
  refused(code: string): void;
  disconnected(reason: string): void;
  closing(code: string): void;
  backlogClosed(transport: "polling" | "websocket"): void;
  droppedEvent(): void;
  limited(limit: string): void;
  answered(route: string, status: number, seconds: number | undefined): void;
  jwksFetched(realm: string, succeeded: boolean): void;
  revoked(cause: "operator" | "user_logout" | "session_logout"): void;
  /** A connection: recovered, with so many notifications replayed, or not, and why. */
  resumed(cause: string | undefined, replayed: number): void;
  released(why: "confirmed" | "expired", count: number): void;
  committed(seconds: number, entries: number): void;
  scrape(): Promise<string>;
  readonly contentType: string;
  stop(): void;
}

/** Channel names come from strangers where `channels` is not configured: more than this many share one label. */
const mostChannels = 100;
const lagSample_ms = 100;

export function createMetrics(version: string, readings: Readings): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name: `amper_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string, labelNames: string[], collect: (gauge: Gauge) => void) =>
    new Gauge({
      name: `amper_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        collect(this);
      },
    });

  gauge("connections", "Socket.IO connections by transport.", ["transport"], (g) => {
    let all = 0;
    for (const [, connections] of readings.channels()) all += connections;
    g.set({ transport: "polling" }, readings.polling());
    g.set({ transport: "websocket" }, all - readings.polling());
  });
  gauge("channel_connections", "Socket.IO connections by channel.", ["channel"], (g) => {
    const channels = [...readings.channels()].toSorted(([, a], [, b]) => b - a);
    for (const [channel, connections] of channels.slice(0, mostChannels)) g.set({ channel }, connections);
    const others = channels.slice(mostChannels);
    if (others.length > 0)
      g.set(
        { channel: "(others)" },
        others.reduce((sum, [, connections]) => sum + connections, 0),
      );
  });
  gauge("users", "Users with at least one connection.", [], (g) => g.set(readings.users()));
  gauge("sessions", "Engine.IO sessions, those before their CONNECT included.", [], (g) =>
    g.set(readings.sessions().all),
  );
  gauge("sessions_unauthenticated", "Those that have not sent a good CONNECT yet.", [], (g) =>
    g.set(readings.sessions().unauthenticated),
  );
  gauge("window_entries", "Entries in the replay window.", [], (g) => g.set(readings.window().entries));
  gauge("window_bytes", "Bytes in the replay window.", [], (g) => g.set(readings.window().bytes));
  gauge("window_age_seconds", "Age of the oldest entry in the replay window.", [], (g) =>
    g.set(readings.window().age_seconds),
  );
  gauge("journal_bytes", "Size of the journal on the disk.", [], (g) => g.set(readings.journalBytes()));
  gauge("held", "Notifications that wait for a user, once for each user.", [], (g) => g.set(readings.held().count));
  gauge("held_bytes", "Bytes of notifications that wait for a user.", [], (g) => g.set(readings.held().bytes));
  gauge("revocations", "Revocations in force.", [], (g) => g.set(readings.revocations().inForce));
  gauge("revocations_unsaved", "Revocations that the journal has not taken yet.", [], (g) =>
    g.set(readings.revocations().unsaved),
  );
  gauge("jwks_age_seconds", "Age of the keys of a realm that are in use.", ["realm"], (g) => {
    for (const { name, age_seconds } of readings.realms())
      if (age_seconds !== undefined) g.set({ realm: name }, age_seconds);
  });
  gauge("build_info", "Always 1.", ["version", "bun"], (g) => g.set({ version, bun: Bun.version }, 1));

  const notifications = counter(
    "notifications_total",
    "Accepted notifications by kind of target and API key.",
    "kind",
    "key",
  );
  const authorized = counter("authorizations_total", "Issued websocket tokens by WS token or realm.", "through");
  const deliveries = counter("deliveries_total", "Notifications handed to a connection.");
  const refusals = counter("refusals_total", "Refused connections and requests by code.", "code");
  const disconnects = counter("disconnects_total", "Ended connections by reason.", "reason");
  const closings = counter("closings_total", "Connections that the service ended, by code.", "code");
  const backlogCloses = counter("backlog_closes_total", "Connections closed because they did not read.", "transport");
  const dropped = counter("client_events_dropped_total", "Packets that clients sent although they only receive.");
  const limited = counter(
    "limited_total",
    "Requests refused and connections closed by a limit, by its setting.",
    "limit",
  );
  const requests = counter("http_requests_total", "HTTP requests by route and status.", "route", "status");
  const jwks = counter("jwks_fetches_total", "Fetches of a realm's keys by result.", "realm", "result");
  const revoked = counter("revocations_total", "Users and Keycloak sessions that were thrown out, by cause.", "cause");
  const recovered = counter("connections_recovered_total", "Connections that came back and missed nothing.");
  const notRecovered = counter("connections_not_recovered_total", "Other connections, by cause.", "cause");
  const replayed = counter("replayed_total", "Notifications replayed to recovered connections.");
  const released = counter("held_released_total", "Held notifications that wait no more, by reason.", "reason");
  const committed = counter("journal_entries_total", "Entries made durable.");
  const commits = new Histogram({
    name: "amper_journal_commit_seconds",
    help: "Time of a commit of the journal.",
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5],
    registers,
  });
  const latency = new Histogram({
    name: "amper_http_request_duration_seconds",
    help: "Time to answer an HTTP request, long polls excepted.",
    labelNames: ["route", "status"],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  });
  // prom-client finds a series by hashing its labels, at each request: routes and statuses are few, so they are kept.
  const answers = new Map<string, { count: Counter.Internal; latency: () => Histogram.Internal<string> }>();
  function answerOf(route: string, status: number) {
    const name = `${status} ${route}`;
    const known = answers.get(name);
    if (known !== undefined) return known;
    const [count, latencies] = [
      requests.labels({ route, status }),
      () => latency.labels({ route, status: String(status) }),
    ];
    let observed: Histogram.Internal<string> | undefined;
    const made = { count, latency: () => (observed ??= latencies()) };
    answers.set(name, made);
    return made;
  }
  const stopLag = measureLag(registry, lagSample_ms);
  describeProcess(registry);

  return {
    notified(target, connections, key) {
      notifications.inc({ kind: kindOf(target), key });
      deliveries.inc(connections);
    },
    authorized: (through) => authorized.inc({ through }),
    refused: (code) => refusals.inc({ code }),
    disconnected: (reason) => disconnects.inc({ reason }),
    closing: (code) => closings.inc({ code }),
    backlogClosed: (transport) => backlogCloses.inc({ transport }),
    droppedEvent: () => dropped.inc(),
    limited: (limit) => limited.inc({ limit }),
    answered(route, status, seconds) {
      const answer = answerOf(route, status);
      answer.count.inc();
      if (seconds !== undefined) answer.latency().observe(seconds);
    },
    jwksFetched: (realm, succeeded) => jwks.inc({ realm, result: succeeded ? "ok" : "failed" }),
    revoked: (cause) => revoked.inc({ cause }),
    resumed(cause, missed) {
      if (cause === undefined) recovered.inc();
      else notRecovered.inc({ cause });
      replayed.inc(missed);
    },
    released: (reason, count) => released.inc({ reason }, count),
    committed(seconds, entries) {
      committed.inc(entries);
      commits.observe(seconds);
    },
    scrape: () => registry.metrics(),
    contentType: registry.contentType,
    stop: stopLag,
  };
}

export function kindOf(target: Target): "channel" | "user" | "user_channel" {
  if (target.users === undefined) return "channel";
  return target.channels === undefined ? "user" : "user_channel";
}
