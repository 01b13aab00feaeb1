import pino from "pino";
import { createStdout, type Lines } from "./stdout.ts";

export type LogLevel = "silent" | "error" | "warn" | "info" | "debug";
type Value = string | number | boolean | null | undefined | readonly string[];
type Fields = Readonly<Record<string, Value>>;

/** @param about whom or what of many the line is about: one of them alone cannot use up the lines of the event. */
type Write = (event: string, fields?: Fields, about?: string) => void;

/** One JSON line for one notable event. Fields name things; they never hold a secret, a token or a notification. */
export interface Log {
  readonly error: Write;
  readonly warn: Write;
  readonly info: Write;
  readonly debug: Write;
  /** Something that was not foreseen: a bug. */
  crash(error: unknown, fields?: Fields): void;
  /** Writes out what is buffered: before the process exits. */
  flush(): Promise<void>;
}

const linesPerSecond = 20;
/** Of them, for lines about somebody who has had none in this second. */
const reservedLines = 5;
const longestValue = 2048;

interface Budget {
  second: number;
  lines: number;
  suppressed: number;
  /** Whom the lines of this second are about. */
  readonly heard: Set<string>;
}

/**
 * Every event has its own budget of lines, because strangers cause some of them: a flood of bad tokens must fill neither
 * the disk nor the log of everything else. The next line after a pause says how many were left out (`suppressed`).
 *
 * @param isSecret whether a word is a key or a token: people mix them up with names, and names are logged.
 */
export function createLog(
  level: LogLevel,
  now: () => number,
  isSecret: (word: string) => boolean = () => false,
  lines: Lines = createStdout(),
): Log {
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
  const budgets = new Map<string, Budget>();

  function write(severity: Exclude<LogLevel, "silent">, event: string, fields: Fields = {}, about?: string): void {
    if (!logger.isLevelEnabled(severity)) return;
    const budget = budgetOf(event);
    if (isSpent(budget, about)) return void budget.suppressed++;
    budget.lines++;
    if (about !== undefined) budget.heard.add(about);
    logger[severity](
      { ...presentable(fields), ...(budget.suppressed > 0 && { suppressed: budget.suppressed }) },
      event,
    );
    budget.suppressed = 0;
  }

  function budgetOf(event: string): Budget {
    const second = Math.floor(now() / 1000);
    const budget = budgets.get(event) ?? { second, lines: 0, suppressed: 0, heard: new Set() };
    budgets.set(event, budget);
    if (budget.second === second) return budget;
    Object.assign(budget, { second, lines: 0 });
    budget.heard.clear();
    return budget;
  }

  function presentable(fields: Fields): Fields {
    return Object.fromEntries(
      Object.entries(fields).map(([name, value]) => {
        if (typeof value === "string") return [name, withoutSecrets(value.slice(0, longestValue), isSecret)];
        return [name, isList(value) ? shorten(value).map((item) => withoutSecrets(item, isSecret)) : value];
      }),
    );
  }

  return {
    error: (...line) => write("error", ...line),
    warn: (...line) => write("warn", ...line),
    info: (...line) => write("info", ...line),
    debug: (...line) => write("debug", ...line),
    crash: (error, fields) => write("error", "internal error", { ...fields, error: describe(error) }),
    flush: lines.flush,
  };
}

function isSpent({ lines, heard }: Budget, about: string | undefined): boolean {
  const isKnown = about !== undefined && heard.has(about);
  return lines >= linesPerSecond - (isKnown ? reservedLines : 0);
}

function isList(value: Value): value is readonly string[] {
  return Array.isArray(value);
}

/** A list ends where it gets too long, and says how many more there are. */
function shorten(list: readonly string[]): string[] {
  let length = 0;
  const tooLong = list.findIndex((item) => (length += item.length) > longestValue);
  return tooLong < 0 ? [...list] : [...list.slice(0, tooLong), `and ${list.length - tooLong} more`];
}

/** A word may have the full stop of its sentence behind it, or one of its own. */
function withoutSecrets(text: string, isSecret: (word: string) => boolean): string {
  return text.replace(/[^\s,"'`]+/g, (word) => {
    const bare = word.replace(/[.:;)]$/, "");
    return isSecret(word) || isSecret(bare) ? "(secret)" : word;
  });
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : "not an Error";
}
