import type { Log } from "../../src/observe/log.ts";
import { until } from "./raw.ts";
import { quietLog } from "./service.ts";

export type Line = Readonly<Record<string, unknown>>;

/** A log for a service in this process, and what was written to it. */
export function logReader() {
  const lines: Line[] = [];
  const write = (level: string): Log["info"] => {
    return (event, fields) => void lines.push({ level, event, ...fields });
  };
  const log: Log = { ...quietLog, info: write("info"), warn: write("warn"), debug: write("debug") };
  /** The lines of an event, as soon as there are so many. */
  async function said(event: string, count = 1): Promise<readonly Line[]> {
    const found = () => lines.filter((line) => line["event"] === event);
    await until(`${count} lines say ${event}`, () => found().length >= count);
    return found();
  }
  return { log, lines, said };
}
