// What one run of one peer yields, and how the server's own CPU and memory are read from outside of it.
import { readFileSync } from "node:fs";
import * as v from "valibot";

/** What the load generator is to do; it comes as one JSON argument. */
export const Job = v.object({
  port: v.number(),
  /** Of the server: its CPU and memory are read, not the load generator's. */
  pid: v.number(),
  connections: v.number(),
  /** Server CPU that each measured phase burns at least, so that a clock tick of 10 ms does not matter. */
  phase_seconds: v.number(),
  /** The same for connecting, which is repeated until then. */
  connect_seconds: v.number(),
  settle_seconds: v.number(),
  /** Where there is one, each page gets a websocket token of its own, bound to its user, before it connects. */
  ws_token: v.optional(v.string()),
  api_key: v.string(),
});
export type Job = v.InferOutput<typeof Job>;

/** One run of one peer. CPU is the server's, in microseconds per one. */
export const Run = v.object({
  authorize_us: v.nullable(v.number()),
  connect_us: v.number(),
  connects_per_second: v.number(),
  connection_kib: v.number(),
  broadcast_us: v.number(),
  broadcast_16_us: v.number(),
  notify_us: v.number(),
  notify_16_us: v.number(),
  /** Of its core, in its busiest phase: near 100 the load generator, not the server, sets the pace. */
  load_percent: v.number(),
});
export type Run = v.InferOutput<typeof Run>;

/** `USER_HZ`, which is 100 on every Linux that Bun runs on. */
const TICKS_PER_SECOND = 100;

/** User and system time of all threads of the process, those that have ended included (proc_pid_stat(5)). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is the program's name, which may hold spaces: count from behind its parenthesis.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident memory, shared pages by share; older kernels or stricter ones only tell VmRSS. */
export function memoryKib(pid: number): number {
  const sources = [
    { path: `/proc/${pid}/smaps_rollup`, line: /^Pss: +(\d+) kB/m },
    { path: `/proc/${pid}/status`, line: /^VmRSS:\s+(\d+) kB/m },
  ];
  for (const { path, line } of sources) {
    try {
      const kib = line.exec(readFileSync(path, "utf8"))?.[1];
      if (kib !== undefined) return Number(kib);
    } catch {
      // Not readable here: the next source is.
    }
  }
  throw new Error(`the memory of process ${pid} cannot be read`);
}

/** The soft limit of open files, which every connection takes one of, in the server as in the load generator. */
export function openFileLimit(): number {
  const limit = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return limit === undefined ? 1024 : Number(limit);
}
