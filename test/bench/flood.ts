// bun test/bench/flood.ts: 20,000 connections that only take room, and a stream of guessed keys and tokens. How long a good
// page takes from asking for its token to its first notification, and where the memory of the server goes and comes back to.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { io } from "socket.io-client";
import * as v from "valibot";
import { flood, idleKinds, type Counts } from "../support/flood.ts";
import { metric } from "../support/raw.ts";
import { cpuSeconds } from "./measure.ts";
import { API_KEY, findPeers, start, stopEverything, type Started } from "./peers.ts";

const BINARY = join(import.meta.dir, "../../dist/amper-channels");
/** Of each kind, so often. After the first, what is made once stays: compiled code, pools, what the limits know of addresses. */
const FLOODS = [4000, 4000, 4000, 4000];
const GUESSERS = 8;
const PAGES = 30;
/** Longer than a full collection is away, once it is quiet: ten seconds, seldom thirty. */
const QUIET_MS = 40_000;
const Issued = v.object({ token: v.string() });

function fail(reason: string): never {
  throw new Error(reason);
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

/** The time of one page, in ms, on connections of its own. */
async function comeAndGo(url: string, wsToken: string): Promise<number> {
  const from = performance.now();
  const headers = { Connection: "close" };
  const bearer = { ...headers, Authorization: `Bearer ${wsToken}` };
  const { token } = v.parse(Issued, await (await fetch(`${url}/authorize`, { headers: bearer })).json());
  const socket = io(url, { auth: { token, keycloakID: "newcomer", channel: "bench" }, forceNew: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  const notified = new Promise<void>((resolve) => socket.once("notification", () => resolve()));
  const body = JSON.stringify({ msg: "welcome", keycloak: "newcomer" });
  const json = { ...headers, "X-API-Key": API_KEY, "Content-Type": "application/json" };
  const { status } = await fetch(`${url}/notify`, { method: "POST", headers: json, body });
  if (status !== 200) fail(`/notify answered ${status}`);
  await notified;
  socket.disconnect();
  return performance.now() - from;
}

const memory = (url: string): Promise<number> => metric(url, "process_resident_memory_bytes");

function spread(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) => (sorted[Math.ceil((sorted.length - 1) * part)] ?? 0).toFixed(0);
  return `median ${at(0.5)} ms, worst ${at(1)} ms of ${times.length}`;
}

const shown = (counts: Counts): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name}: ${count}`)
    .join(", ");

/** Waits until the memory has fallen to less than half of what the flood took, and tells when. */
async function settle(url: string, target_bytes: number): Promise<string> {
  const from = performance.now();
  while (performance.now() - from < QUIET_MS) {
    // Not often: as long as there is something to do, the collector puts off its work.
    await Bun.sleep(500);
    if ((await memory(url)) > target_bytes) continue;
    const after_s = (performance.now() - from) / 1000;
    // It goes back in pieces.
    await Bun.sleep(8000);
    return `back after ${after_s.toFixed(0)} s`;
  }
  return "not back";
}

async function run(server: Started, wsToken: string): Promise<void> {
  const url = `http://127.0.0.1:${server.port}`;
  const several = async (n: number): Promise<number[]> => {
    const times: number[] = [];
    for (let i = 0; i < n; i++) times.push(await comeAndGo(url, wsToken));
    return times;
  };
  await several(5);
  print(`fresh: ${mib(await memory(url))}; a page takes ${spread(await several(PAGES))}`);
  const fresh_bytes = await memory(url);
  for (const [n, each] of FLOODS.entries()) {
    const first = n * 1_000_000;
    const [from, cpu] = [performance.now(), cpuSeconds(server.pid)];
    const idle = [0, 200_000].map((more) => ({ firstAddress: first + more, idle: each / 2, guessers: 0 }));
    const filling = flood(server.port, idle);
    const guessing = await flood(server.port, [{ firstAddress: first + 400_000, idle: 0, guessers: GUESSERS }]);
    const full = new AbortController();
    void filling.then(() => full.abort());
    const meanwhile: number[] = [];
    do meanwhile.push(await comeAndGo(url, wsToken));
    while (!full.signal.aborted);
    const filled = await filling;
    const took_ms = performance.now() - from;
    print(`flood of ${each * idleKinds.length}: ${shown(filled.counts)}`);
    print(`  while it fills (${(took_ms / 1000).toFixed(1)} s), a page takes ${spread(meanwhile)}`);
    print(`  while it is full, a page takes ${spread(await several(PAGES))}`);
    const descriptors = readdirSync(`/proc/${server.pid}/fd`).length;
    const full_bytes = await memory(url);
    print(`  ${await metric(url, "amper_sessions")} sessions, ${descriptors} descriptors, ${mib(full_bytes)}`);
    const guessed = await guessing.stop();
    await filled.stop();
    print(`  ${shown(guessed)}; ${(cpuSeconds(server.pid) - cpu).toFixed(1)} s of CPU`);
    const settled = await settle(url, fresh_bytes + (full_bytes - fresh_bytes) / 2);
    const after_bytes = await memory(url);
    print(`  afterwards ${await metric(url, "amper_sessions")} sessions, ${mib(after_bytes)}, ${settled}`);
  }
}

process.once("exit", stopEverything);
const { peers } = await findPeers({ ours: [BINARY], sqlite: false, before: undefined });
const ours = peers.find(({ name }) => name === "ours") ?? fail("there is no server");
const server = await start(ours);
await run(server, ours.ws_token ?? fail("ours has a token"));
await server.stop();
process.exit(0);
