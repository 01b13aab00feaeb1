import pino from "pino";
import { createStdout } from "./stdout.ts";

export type LogLevel = "silent" | "error" | "warn" | "info" | "debug";
type Fields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** One JSON line for one notable event. Fields name things; they never hold a secret, a token or a notification. */
export interface Log {
  error(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  info(event: string, fields?: Fields): void;
  debug(event: string, fields?: Fields): void;
  /** Something that was not foreseen: a bug. */
  crash(error: unknown, fields?: Fields): void;
  /** Writes out what is buffered: before the process exits. */
  flush(): Promise<void>;
}

const linesPerSecond = 20;
const longestValue = 2048;

/**
 * Every event has its own budget of lines, because strangers cause some of them: a flood of bad tokens must fill neither
 * the disk nor the log of everything else. The next line after a pause says how many were left out (`suppressed`).
 */
export function createLog(level: LogLevel, now: () => number): Log {
  const lines = createStdout();
  const logger = pino(
    {
      level,
      base: null,
      messageKey: "event",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    lines,
  );
  const budgets = new Map<string, { second: number; lines: number; suppressed: number }>();

  function write(severity: Exclude<LogLevel, "silent">, event: string, fields: Fields = {}): void {
    if (!logger.isLevelEnabled(severity)) return;
    const second = Math.floor(now() / 1000);
    const budget = budgets.get(event) ?? { second, lines: 0, suppressed: 0 };
    budgets.set(event, budget);
    if (budget.second !== second) Object.assign(budget, { second, lines: 0 });
    if (++budget.lines > linesPerSecond) return void budget.suppressed++;
    logger[severity]({ ...shorten(fields), ...(budget.suppressed > 0 && { suppressed: budget.suppressed }) }, event);
    budget.suppressed = 0;
  }

  return {
    error: (event, fields) => write("error", event, fields),
    warn: (event, fields) => write("warn", event, fields),
    info: (event, fields) => write("info", event, fields),
    debug: (event, fields) => write("debug", event, fields),
    crash: (error, fields) => write("error", "internal error", { ...fields, error: describe(error) }),
    flush: lines.flush,
  };
}

function shorten(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === "string" ? value.slice(0, longestValue) : value,
    ]),
  );
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : "not an Error";
}
