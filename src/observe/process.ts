import { readdirSync, readFileSync, statSync } from "node:fs";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** How late timers fire. prom-client's own measure reads a libuv histogram that Bun does not fill. */
export function measureLag(registry: Registry, sample_ms: number): () => void {
  const lag = new Histogram({
    name: "amper_event_loop_lag_seconds",
    help: `How late a timer of ${sample_ms} ms fired.`,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    registers: [registry],
  });
  let due = performance.now() + sample_ms;
  const timer = setInterval(() => {
    const now = performance.now();
    lag.observe(Math.max(0, now - due) / 1000);
    due = now + sample_ms;
  }, sample_ms);
  timer.unref();
  return () => clearInterval(timer);
}

/** Under the names that every Prometheus client uses, so that common dashboards work. */
export function describeProcess(registry: Registry): void {
  const metrics = [
    new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory size in bytes.",
      registers: [],
      collect() {
        try {
          this.set(process.memoryUsage.rss());
        } catch {
          // It takes a descriptor. Where there is none, that of the last scrape stands: the others are needed now.
        }
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
  // Asked once: to read it takes a descriptor.
  const most = mostDescriptors();
  if (Number.isFinite(most)) metrics.push(...describeDescriptors(most));
  for (const metric of metrics) registry.registerMetric(metric);
}

function describeDescriptors(most: number): Gauge[] {
  return [
    new Gauge({
      name: "process_open_fds",
      help: "Number of open file descriptors.",
      registers: [],
      collect() {
        this.set(openDescriptors());
      },
    }),
    new Gauge({
      name: "process_max_fds",
      help: "Maximum number of open file descriptors.",
      registers: [],
      collect() {
        this.set(most);
      },
    }),
  ];
}

/** How many descriptors the process has open. For Linux. */
export function openDescriptors(): number {
  // Kernels before 6.2 say 0; to count them one by one takes milliseconds where there are many.
  return statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
}

/** How many it may have open: Bun raises the soft limit to the hard one at its start. Infinity: unknown, for this is no Linux. */
export function mostDescriptors(): number {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === undefined ? Infinity : Number(soft);
  } catch {
    return Infinity;
  }
}
