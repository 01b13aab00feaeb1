// Medians over the rounds, the ratios, and what they must be.
import type { Run } from "./measure.ts";
import type { PeerName } from "./peers.ts";

export type Round = Run & { readonly start_ms: number };
export type Rounds = Readonly<Record<PeerName, readonly Round[]>>;
type Metric = keyof Round;

const COLUMNS: Readonly<Record<PeerName, string>> = {
  ours: "ours",
  sqlite: "ours, SQLite",
  before: "before",
  node: "Node",
  bare: "bare",
};
const PEERS = ["ours", "sqlite", "before", "node", "bare"] as const;

const COMPARISONS = [
  { name: "bare", title: "ours / bare", of: "ours", to: "bare" },
  { name: "node", title: "ours / Node", of: "ours", to: "node" },
  { name: "sqlite", title: "SQLite / memory", of: "sqlite", to: "ours" },
  { name: "before", title: "ours / before", of: "ours", to: "before" },
] as const;
type ComparisonName = (typeof COMPARISONS)[number]["name"];

interface Row {
  readonly metric: Metric;
  readonly title: string;
  /** The most that the one may cost of what the other costs. */
  readonly most?: Partial<Readonly<Record<ComparisonName, number>>>;
  /** Compared by difference, with this unit, instead of by ratio: of two starts only what a user waits longer matters. */
  readonly difference?: string;
}

const ROWS: readonly Row[] = [
  { metric: "broadcast_us", title: "delivery, 1 in flight, CPU µs", most: { bare: 1.15, node: 0.5 } },
  { metric: "broadcast_16_us", title: "delivery, 16 in flight, CPU µs", most: { bare: 1.3, node: 0.1 } },
  { metric: "connect_us", title: "connect, CPU µs", most: { node: 0.45 } },
  { metric: "connects_per_second", title: "connects per second" },
  { metric: "notify_us", title: "/notify to one user, CPU µs", most: { node: 0.5, sqlite: 1.5 } },
  { metric: "notify_16_us", title: "/notify to one user, 16 in flight, CPU µs" },
  { metric: "connection_kib", title: "memory of a connection, KiB", most: { node: 0.9 } },
  { metric: "authorize_us", title: "/authorize, CPU µs" },
  { metric: "start_ms", title: "start to listening, ms", most: { bare: 100 }, difference: "ms more" },
  { metric: "load_percent", title: "the load generator's own core at its busiest, %" },
];

interface Comparison {
  readonly name: ComparisonName;
  readonly value: number;
  readonly most: number | null;
  readonly unit: string;
}

export interface Line {
  readonly metric: Metric;
  readonly title: string;
  /** By peer; without those that did not run, or to which it does not apply. */
  readonly medians: Readonly<Partial<Record<PeerName, number>>>;
  readonly comparisons: readonly Comparison[];
}

function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

export function summarise(rounds: Rounds): readonly Line[] {
  return ROWS.map(({ metric, title, most, difference }) => {
    const medians: Partial<Record<PeerName, number>> = {};
    for (const peer of PEERS) {
      const value = median(rounds[peer].map((round) => round[metric]).filter((one) => one !== null));
      if (value !== undefined) medians[peer] = value;
    }
    const comparisons = COMPARISONS.flatMap(({ name, of, to }): Comparison[] => {
      const [value, other] = [medians[of], medians[to]];
      if (metric === "load_percent" || value === undefined || other === undefined) return [];
      const common = { name, most: most?.[name] ?? null };
      if (difference !== undefined) return [{ ...common, value: value - other, unit: difference }];
      // Nothing at all is what a quick run may find of a cost below the clock tick.
      return other > 0 ? [{ ...common, value: value / other, unit: "×" }] : [];
    });
    return { metric, title, medians, comparisons };
  });
}

function number(value: number | undefined): string {
  if (value === undefined) return "–";
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

function verdict(comparison: Comparison | undefined): string {
  if (comparison === undefined) return "–";
  const { value, most, unit } = comparison;
  const text = `${value.toFixed(unit === "×" ? 2 : 0)} ${unit}`;
  return most === null ? text : `${text} (≤ ${most}) ${value <= most ? "pass" : "MISS"}`;
}

export function print(lines: readonly Line[]): string {
  const peers = PEERS.filter((peer) => lines.some(({ medians }) => medians[peer] !== undefined));
  const compared = COMPARISONS.filter(({ of, to }) => peers.includes(of) && peers.includes(to));
  const all = [
    ["median", ...peers.map((peer) => COLUMNS[peer]), ...compared.map(({ title }) => title)],
    ...lines.map(({ title, medians, comparisons }) => [
      title,
      ...peers.map((peer) => number(medians[peer])),
      ...compared.map(({ name }) => verdict(comparisons.find((comparison) => comparison.name === name))),
    ]),
  ];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  const rows = all.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`);
  rows.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return `${rows.join("\n")}\n`;
}
