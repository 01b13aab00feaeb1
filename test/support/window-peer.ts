import { heapStats } from "bun:jsc";
import * as v from "valibot";
import { createWindow } from "../../src/journal/window.ts";
import { cursorAt } from "../../src/model/cursor.ts";
import { Channel, KeycloakId } from "../../src/model/names.ts";

/** Run as a process of its own, whose heap nobody else uses: fills a window, and prints what it counts and what it takes. */

export const limit_bytes = 16 * 1024 * 1024;

const name = (n: number): string => `26259ede-0000-4000-8000-${String(n).padStart(12, "0")}`;
const names = (from: number, count: number): string[] => Array.from({ length: count }, (_, i) => name(from + i));

interface Body {
  readonly msg: unknown;
  readonly users?: readonly string[];
  readonly channels?: readonly string[];
}

/** What becomes of a body: nothing in it shares its text with another. */
const Target = v.union([
  v.object({ users: v.array(KeycloakId), channels: v.optional(v.array(Channel)) }),
  v.object({ channels: v.array(Channel) }),
]);

export const shapes: Record<string, (n: number) => Body> = {
  "tiny broadcasts": () => ({ msg: "x", channels: ["msf"] }),
  "messages to one user each": (n) => ({ msg: `${n}`.padEnd(80, "y"), users: names(n, 1) }),
  "messages to a few users, again and again": (n) => ({ msg: n, users: names(n % 10, 2) }),
  "lists of the same users": (n) => ({ msg: n, users: names(0, 1000) }),
  "lists of other users each": (n) => ({ msg: n, users: names(n * 1000, 1000), channels: ["msf"] }),
  "large messages": (n) => ({ msg: `${n}`.padEnd(60_000, "y"), channels: ["msf"] }),
  "large messages in Cyrillic": (n) => ({ msg: `${n}`.padEnd(30_000, "ж"), channels: ["msf"] }),
  "small messages with an emoji": (n) => ({ msg: `${n}👍`.padEnd(80, "y"), channels: ["msf"] }),
};

function fill(shape: (n: number) => Body): { counted_bytes: number; taken_bytes: number } {
  const settings = { journal_window_seconds: 3600, journal_window_bytes: limit_bytes };
  const history = { epochs: [{ epoch: "e", first: 1 }], entries: [], trimmedTo: 0 };
  const window = createWindow(settings, history, () => 0);
  Bun.gc(true);
  const before_bytes = heapStats().heapSize;
  for (let n = 1; window.trimmedTo === 0; n++) {
    const { msg, ...named }: Body = JSON.parse(JSON.stringify(shape(n)));
    const target = v.parse(Target, named);
    const place = { sequence: n, cursor: cursorAt("e", n), time_ms: 0, uptime_ms: 0 };
    window.add({ kind: "notification", json: JSON.stringify(msg), target, ttl_seconds: 0, ...place });
  }
  Bun.gc(true);
  return { counted_bytes: window.bytes, taken_bytes: heapStats().heapSize - before_bytes };
}

if (import.meta.main) {
  const shape = shapes[process.argv[2] ?? ""];
  if (shape === undefined) throw new Error("there is no such shape");
  process.stdout.write(JSON.stringify(fill(shape)));
}
