import { join } from "node:path";
import * as v from "valibot";
import { killAfterTest } from "./children.ts";

/** A flood of connections that want nothing, from many addresses, in processes of their own: one has too few descriptors. */

/**
 * How a connection takes room and wants nothing: TCP that says nothing, half a request line, a websocket that says nothing, one
 * that answers heartbeats but never sends its CONNECT, a session by polling that is left alone.
 */
export const idleKinds = ["bare", "half", "websocket", "session", "polling"] as const;

/**
 * How a connection makes the service keep bytes: a body that lacks its last byte, the same in chunks, data in chunks for a session
 * that is not there, a websocket message that lacks its last byte, one in fragments, a head that does not end, a body of
 * which nothing comes.
 */
export const heavyKinds = ["body", "chunks", "data", "message", "fragments", "head", "late"] as const;

/** What one process does. All addresses are of loopback, and another one's for each process. */
export const Job = v.object({
  port: v.number(),
  /** The number of the first address that it calls from: each connection is from the next. */
  firstAddress: v.number(),
  kinds: v.optional(v.array(v.picklist([...idleKinds, ...heavyKinds])), [...idleKinds]),
  /** All connections are from the first address. */
  isOne: v.optional(v.boolean(), false),
  /** So many connections of each kind. */
  idle: v.number(),
  /** So many at once guess keys and tokens, until the end. */
  guessers: v.number(),
});
export type Job = v.InferInput<typeof Job>;

/** What came of it, by kind and answer: `websocket 101`, `bare open`, `polling 503`, `half closed`. */
export const Counts = v.record(v.string(), v.number());
export type Counts = v.InferOutput<typeof Counts>;

export interface Flood {
  /** When all had been tried. */
  readonly counts: Counts;
  /** Ends all of its connections at once, and tells what came of them until then. */
  stop(): Promise<Counts>;
}

export async function flood(port: number, jobs: readonly Omit<Job, "port">[]): Promise<Flood> {
  const peers = jobs.map((job) => startPeer({ ...job, port }));
  const counts = sum(await Promise.all(peers.map(({ report }) => report())));
  return {
    counts,
    async stop() {
      for (const { child } of peers) void child.stdin.end();
      return sum(await Promise.all(peers.map(({ report }) => report())));
    },
  };
}

function startPeer(job: Job) {
  // Whoever floods has machines of his own: his work must not take time from the service that is watched.
  const command = ["nice", "-n", "15", process.execPath, join(import.meta.dir, "flood-peer.ts"), JSON.stringify(job)];
  // Ends by itself when its standard input does, so with this process at the latest.
  const child = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  killAfterTest(child);
  const lines = linesOf(child.stdout);
  async function report(): Promise<Counts> {
    const { value } = await lines.next();
    return v.parse(v.pipe(v.string(), v.parseJson(), Counts), value);
  }
  return { child, report };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

function sum(all: readonly Counts[]): Counts {
  const total: Record<string, number> = {};
  for (const counts of all) {
    for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count;
  }
  return total;
}
