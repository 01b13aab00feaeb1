import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { describeProcess, measureLag } from "./process.ts";

/** Where the rooms register what they count and measure, each under a name that begins with `amper_`. */
export interface Metrics {
  counter(name: string, help: string, ...labels: string[]): Counter;
  /** `collect` sets the gauge at each scrape. */
  gauge(name: string, help: string, labels: string[], collect: (gauge: Gauge) => void): void;
  histogram(name: string, help: string, buckets: number[], ...labels: string[]): Histogram;
  scrape(): Promise<string>;
  readonly contentType: string;
  stop(): void;
}

/** What both requests and connections can meet. */
export interface SharedCounters {
  readonly refusals: Counter;
  readonly limited: Counter;
}

const lagSample_ms = 100;

export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const stopLag = measureLag(registry, lagSample_ms);
  describeProcess(registry);

  const metrics: Metrics = {
    counter: (name, help, ...labelNames) => new Counter({ name: `amper_${name}`, help, labelNames, registers }),
    gauge(name, help, labelNames, collect) {
      const gauge = new Gauge({
        name: `amper_${name}`,
        help,
        labelNames,
        registers,
        collect() {
          gauge.reset();
          collect(gauge);
        },
      });
    },
    histogram: (name, help, buckets, ...labelNames) =>
      new Histogram({ name: `amper_${name}`, help, labelNames, buckets, registers }),
    scrape: () => registry.metrics(),
    contentType: registry.contentType,
    stop: stopLag,
  };
  metrics.gauge("build_info", "Always 1.", ["version", "bun"], (gauge) => gauge.set({ version, bun: Bun.version }, 1));
  return metrics;
}
