// The servers under comparison, how each is started on its own core, and how nothing of them is left behind.
/* oxlint-disable no-await-in-loop -- a start is watched step by step */
import { join } from "node:path";
import type { Subprocess } from "bun";
import { folder } from "../support/folder.ts";

/** `ours` keeps its journal in memory, `sqlite` is ours with its journal on the disk, `before` an older executable of ours. */
export type PeerName = "ours" | "sqlite" | "before" | "node" | "bare";

export interface Peer {
  readonly name: PeerName;
  readonly command: readonly string[];
  readonly environment: (port: number) => Record<string, string>;
  readonly ws_token?: string;
}

export interface Started {
  readonly pid: number;
  readonly port: number;
  /** From the spawn to the first accepted TCP connection. */
  readonly start_ms: number;
  readonly stop: () => Promise<void>;
}

export const API_KEY = "bench-key-0123456789abcdefghijklmnop";
const WS_TOKEN = "bench-ws-token-0123456789abcdefghijk";
const START_LIMIT_MS = 20_000;

const alive = new Set<Subprocess>();

/** Ends every process that was started here; for the end, an error and a signal alike. */
export function stopEverything(): void {
  for (const child of alive) child.kill("SIGKILL");
}

const taskset = navigator.hardwareConcurrency > 1 ? Bun.which("taskset") : null;
export const pinned = taskset !== null;

/** `taskset` replaces itself by the command, so the process id is the command's own. */
export function spawnOn(core: number, command: readonly string[], environment: Record<string, string>) {
  const pin = taskset === null ? [] : [taskset, "-c", String(core)];
  const child = Bun.spawn([...pin, ...command], {
    // Nothing else of the caller's environment: a stray setting must not change what is measured.
    env: { PATH: process.env["PATH"] ?? "", ...environment },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  alive.add(child);
  void child.exited.then(() => alive.delete(child));
  return child;
}

function freePort(): number {
  const socket = { data: () => undefined };
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket });
  listener.stop(true);
  return listener.port;
}

async function accepts(port: number): Promise<boolean> {
  try {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
    socket.terminate();
    return true;
  } catch {
    return false;
  }
}

export async function start(peer: Peer): Promise<Started> {
  const port = freePort();
  const from = performance.now();
  const child = spawnOn(0, peer.command, peer.environment(port));
  // Read, so that a server that logs never waits for a full pipe.
  void child.stdout.pipeTo(new WritableStream());
  while (!(await accepts(port))) {
    if (child.exitCode !== null) throw new Error(`${peer.name} ended with code ${child.exitCode} at its start`);
    if (performance.now() - from > START_LIMIT_MS) throw new Error(`${peer.name} does not listen`);
    await Bun.sleep(1);
  }
  const start_ms = performance.now() - from;
  const stop = async () => {
    // Not SIGTERM: draining is a virtue elsewhere.
    child.kill("SIGKILL");
    await child.exited;
  };
  return { pid: child.pid, port, start_ms, stop };
}

const byPort = (port: number) => ({ PORT: String(port) });

function oneOfOurs(name: PeerName, command: readonly string[], journal: (port: number) => string): Peer {
  return {
    name,
    command: [...command, "serve"],
    ws_token: WS_TOKEN,
    environment: (port) => ({
      AMPER_HOST: "127.0.0.1",
      AMPER_PORT: String(port),
      AMPER_API_KEYS: `bench=${API_KEY}`,
      AMPER_WS_TOKENS: `bench=${WS_TOKEN}`,
      AMPER_TOKEN_SECRET: "bench-token-secret-0123456789abcdefghij",
      AMPER_JOURNAL: journal(port),
      AMPER_LOG_LEVEL: "warn",
      AMPER_DRAIN_SECONDS: "0",
    }),
  };
}

interface Wanted {
  /** The command that is our server. */
  readonly ours: readonly string[];
  readonly sqlite: boolean;
  /** The path of an older executable to compare with. */
  readonly before: string | undefined;
}

/** The peers that can run here, and the reason for each that cannot. */
export async function findPeers({ ours, sqlite, before }: Wanted): Promise<{ peers: Peer[]; notes: string[] }> {
  const directory = folder();
  const bare = join(directory, "bare");
  const build = ["build", join(import.meta.dir, "peer-bare.ts"), "--compile", "--minify", "--outfile", bare];
  await Bun.$`${process.execPath} ${build}`.quiet();

  const peers: Peer[] = [
    oneOfOurs("ours", ours, () => "memory:"),
    { name: "bare", command: [bare], environment: byPort },
  ];
  // A new file for each run: an old journal's window would be read at the start.
  if (sqlite) {
    peers.push(oneOfOurs("sqlite", ours, (port) => `sqlite:${join(directory, `${Date.now()}-${port}.db`)}`));
  }
  if (before !== undefined) peers.push(oneOfOurs("before", [before], () => "memory:"));
  const node = Bun.which("node");
  if (node === null) return { peers, notes: ["Socket.IO on Node is skipped: there is no `node` on the PATH."] };
  peers.push({ name: "node", command: [node, join(import.meta.dir, "peer-node.mjs")], environment: byPort });
  return { peers, notes: [] };
}
