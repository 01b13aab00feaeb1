import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Target } from "../model/entry.ts";

/** What the service tells about itself at the moment of a scrape. */
export interface Readings {
  readonly sessions: () => number;
  readonly polling: () => number;
  readonly users: () => number;
  readonly channels: () => Iterable<readonly [channel: string, connections: number]>;
  readonly window: () => { readonly entries: number; readonly bytes: number };
}

export interface Metrics {
  notified(target: Target, connections: number): void;
  refused(code: string): void;
  disconnected(reason: string): void;
  closing(code: string): void;
  droppedEvent(): void;
  answered(route: string, status: number, seconds: number | undefined): void;
  jwksFetched(succeeded: boolean): void;
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
  gauge("sessions", "Engine.IO sessions, those before their CONNECT included.", [], (g) => g.set(readings.sessions()));
  gauge("window_entries", "Entries in the replay window.", [], (g) => g.set(readings.window().entries));
  gauge("window_bytes", "Bytes in the replay window.", [], (g) => g.set(readings.window().bytes));
  gauge("build_info", "Always 1.", ["version", "bun"], (g) => g.set({ version, bun: Bun.version }, 1));

  const notifications = counter("notifications_total", "Accepted notifications by kind of target.", "kind");
  const deliveries = counter("deliveries_total", "Notifications handed to a connection.");
  const refusals = counter("refusals_total", "Refused connections and requests by code.", "code");
  const disconnects = counter("disconnects_total", "Ended connections by reason.", "reason");
  const closings = counter("closings_total", "Connections that the service ended, by code.", "code");
  const dropped = counter("client_events_dropped_total", "Packets that clients sent although they only receive.");
  const requests = counter("http_requests_total", "HTTP requests by route and status.", "route", "status");
  const jwks = counter("jwks_fetches_total", "Fetches of the realm's keys by result.", "result");
  const latency = new Histogram({
    name: "amper_http_request_duration_seconds",
    help: "Time to answer an HTTP request, long polls excepted.",
    labelNames: ["route", "status"],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  });
  const stopLag = measureLag(registry);
  describeProcess(registry);

  return {
    notified(target, connections) {
      notifications.inc({ kind: kindOf(target) });
      deliveries.inc(connections);
    },
    refused: (code) => refusals.inc({ code }),
    disconnected: (reason) => disconnects.inc({ reason }),
    closing: (code) => closings.inc({ code }),
    droppedEvent: () => dropped.inc(),
    answered(route, status, seconds) {
      requests.inc({ route, status });
      if (seconds !== undefined) latency.observe({ route, status }, seconds);
    },
    jwksFetched: (succeeded) => jwks.inc({ result: succeeded ? "ok" : "failed" }),
    scrape: () => registry.metrics(),
    contentType: registry.contentType,
    stop: stopLag,
  };
}

export function kindOf(target: Target): "channel" | "user" | "user_channel" {
  if (target.users === undefined) return "channel";
  return target.channels === undefined ? "user" : "user_channel";
}

/** How late timers fire. prom-client's own measure reads a libuv histogram that Bun does not fill. */
function measureLag(registry: Registry): () => void {
  const lag = new Histogram({
    name: "amper_event_loop_lag_seconds",
    help: `How late a timer of ${lagSample_ms} ms fired.`,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    registers: [registry],
  });
  let due = performance.now() + lagSample_ms;
  const timer = setInterval(() => {
    const now = performance.now();
    lag.observe(Math.max(0, now - due) / 1000);
    due = now + lagSample_ms;
  }, lagSample_ms);
  timer.unref();
  return () => clearInterval(timer);
}

/** Under the names that every Prometheus client uses, so that common dashboards work. */
function describeProcess(registry: Registry): void {
  const metrics = [
    new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory size in bytes.",
      registers: [],
      collect() {
        this.set(process.memoryUsage.rss());
      },
    }),
    new Counter({
      name: "process_cpu_seconds_total",
      help: "Total user and system CPU time spent in seconds.",
      registers: [],
      collect() {
        const { user, system } = process.cpuUsage();
        this.reset();
        this.inc((user + system) / 1e6);
      },
    }),
    new Gauge({
      name: "process_start_time_seconds",
      help: "Start time of the process since unix epoch in seconds.",
      registers: [],
      collect() {
        this.set(Math.round(performance.timeOrigin / 1000));
      },
    }),
  ];
  for (const metric of metrics) registry.registerMetric(metric);
}
