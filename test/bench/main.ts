// bun test/bench/main.ts: our binary, Socket.IO on Node and bare Bun websockets under the same load, in interleaved rounds.
/* oxlint-disable no-await-in-loop -- one server at a time, or they would disturb each other */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as v from "valibot";
import { type Job, openFileLimit, Run } from "./measure.ts";
import { API_KEY, findPeers, type Peer, pinned, spawnOn, start, stopEverything } from "./peers.ts";
import { print, type Round, summarise } from "./table.ts";

const HELP = `bun test/bench/main.ts [--connections 5000] [--rounds 5] [--seconds 1] [--journal sqlite] [--quick] [--json]
                           [--server "COMMAND"] [--before EXECUTABLE]

  --connections  pages that are open at the same time
  --rounds       each round runs every server once; the table shows medians
  --seconds      server CPU that each measured phase burns at least
  --journal      sqlite: measures our server a second time, with the journal in a file of SQLite
  --quick        a smoke test within 20 s: few pages, one round; its numbers mean little
  --json         the medians and every round as JSON instead of the table
  --before       an older executable of ours: measures it as well, to show what a change costs
  --server       what to run instead of dist/amper-channels, e.g. "bun src/main.ts"
`;

const BINARY = join(import.meta.dir, "../../dist/amper-channels");
/** Files that a process needs beside its connections. */
const OTHER_FILES = 200;

function positive(text: string, name: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} must be a positive number, not "${text}"`);
  return value;
}

function settings() {
  const { values } = parseArgs({
    options: {
      connections: { type: "string" },
      rounds: { type: "string" },
      seconds: { type: "string" },
      server: { type: "string" },
      before: { type: "string" },
      journal: { type: "string", default: "memory" },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const { quick, journal } = values;
  if (journal !== "memory" && journal !== "sqlite") throw new Error('--journal must be "memory" or "sqlite"');
  return {
    help: values.help,
    json: values.json,
    before: values.before,
    ours: values.server?.split(" ") ?? [BINARY],
    connections: positive(values.connections ?? (quick ? "500" : "5000"), "connections"),
    rounds: positive(values.rounds ?? (quick ? "1" : "5"), "rounds"),
    phase_seconds: positive(values.seconds ?? (quick ? "0.2" : "1"), "seconds"),
    connect_seconds: quick ? 0.03 : 0.5,
    settle_seconds: quick ? 0.5 : 3,
    sqlite: journal === "sqlite",
  };
}

type Settings = ReturnType<typeof settings>;

const say = (text: string) => void process.stderr.write(`${text}\n`);

async function measure(peer: Peer, set: Settings): Promise<Round> {
  const server = await start(peer);
  try {
    const job: Job = {
      port: server.port,
      pid: server.pid,
      connections: set.connections,
      phase_seconds: set.phase_seconds,
      connect_seconds: set.connect_seconds,
      settle_seconds: set.settle_seconds,
      ws_token: peer.ws_token,
      api_key: API_KEY,
    };
    const load = spawnOn(1, [process.execPath, join(import.meta.dir, "load.ts"), JSON.stringify(job)], {});
    const output = await new Response(load.stdout).text();
    if ((await load.exited) !== 0) throw new Error(`the load on ${peer.name} failed`);
    return { ...v.parse(Run, JSON.parse(output)), start_ms: server.start_ms };
  } finally {
    await server.stop();
  }
}

async function bench(set: Settings): Promise<void> {
  if (set.ours[0] === BINARY && !existsSync(BINARY)) {
    throw new Error("there is no dist/amper-channels: run `bun run build` first");
  }
  const most = openFileLimit() - OTHER_FILES;
  if (set.connections > most) say(`Only ${most} connections: \`ulimit -n\` is ${most + OTHER_FILES}.`);
  const bounded = { ...set, connections: Math.min(set.connections, most) };
  if (!pinned) say("Nothing is pinned to a core: there is one core only, or no `taskset`. Expect noise.");
  const { peers, notes } = await findPeers(set);
  for (const note of notes) say(note);

  // Not counted: the first start reads the program from the disk. A peer that cannot start ends the bench here.
  for (const peer of peers) await (await start(peer)).stop();

  const rounds: Record<Peer["name"], Round[]> = { ours: [], sqlite: [], before: [], node: [], bare: [] };
  for (let round = 0; round < set.rounds; round++) {
    // Each one goes first in turn, so that none always meets the machine in the state that another left.
    for (let turn = 0; turn < peers.length; turn++) {
      const peer = peers[(round + turn) % peers.length];
      if (peer === undefined) continue;
      say(`round ${round + 1} of ${set.rounds}: ${peer.name}`);
      rounds[peer.name].push(await measure(peer, bounded));
    }
  }
  const lines = summarise(rounds);
  process.stdout.write(
    set.json ? `${JSON.stringify({ connections: bounded.connections, lines, rounds })}\n` : print(lines),
  );
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    stopEverything();
    process.exit(130);
  });
}
process.once("exit", stopEverything);

try {
  const set = settings();
  if (set.help) process.stdout.write(HELP);
  else await bench(set);
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
