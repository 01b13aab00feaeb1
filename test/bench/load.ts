// The load generator, a process of its own: opens the pages, sends the notifications, and reads the server's CPU and
// memory around each phase. Prints one `Run` as JSON.
import * as v from "valibot";
import { cpuSeconds, Job, memoryKib, type Run } from "./measure.ts";
import { createNotifier } from "./notifier.ts";
import { createPages, type Identity } from "./page.ts";
import { createRequests, type Requests } from "./requests.ts";

const CHANNEL = "bench";
const IN_FLIGHT_CONNECTS = 64;
const IN_FLIGHT_AUTHORIZATIONS = 16;
/** No phase runs longer, nor sends more, whatever the server's speed. */
const PHASE_LIMIT_SECONDS = 30;
const PHASE_LIMIT_NOTIFICATIONS = 200_000;
const CONNECT_LAPS = 10;

const Issued = v.object({ token: v.string() });
const job = v.parse(Job, JSON.parse(process.argv[2] ?? "{}"));

function fail(reason: string): never {
  process.stderr.write(`load: ${reason}\n`);
  process.exit(1);
}

const { notify, notified } = createNotifier(job.api_key, fail);
const pages = createPages(job.port, { failed: fail, notified });
let load_percent = 0;

/** Runs one phase: the server's CPU in it, and how long it took. */
async function during(phase: () => Promise<void>): Promise<{ cpu: number; seconds: number }> {
  const [cpu, own, start] = [cpuSeconds(job.pid), process.cpuUsage(), performance.now()];
  await phase();
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(own);
  if (seconds > 0.1) load_percent = Math.max(load_percent, (user + system) / seconds / 1e4);
  return { cpu: cpuSeconds(job.pid) - cpu, seconds };
}

/** Runs `width` workers, each with a connection of its own: one kept from an earlier phase might just be timing out. */
async function work(width: number, worker: (requests: Requests) => Promise<void>): Promise<void> {
  const one = async () => {
    const requests = createRequests(job.port);
    await worker(requests);
    requests.close();
  };
  await Promise.all(Array.from({ length: width }, one));
}

type Send = (round: number, requests: Requests) => Promise<void>;

/** Repeats `send`, `inFlight` at a time, until the server has burnt enough CPU; returns CPU in µs per repetition. */
async function burn(inFlight: number, send: Send): Promise<number> {
  const [before, start] = [cpuSeconds(job.pid), performance.now()];
  let [sent, looked, enough] = [0, start, false];
  const worker = async (requests: Requests) => {
    while (!enough && sent < PHASE_LIMIT_NOTIFICATIONS) {
      await send(sent++, requests);
      const now = performance.now();
      if (now - looked < 50) continue;
      looked = now;
      enough = cpuSeconds(job.pid) - before >= job.phase_seconds || now - start > PHASE_LIMIT_SECONDS * 1000;
    }
  };
  const { cpu } = await during(() => work(inFlight, worker));
  return (cpu * 1e6) / sent;
}

async function authorize(requests: Requests, keycloakID: string): Promise<Identity> {
  if (job.ws_token === undefined) return { keycloakID, channel: CHANNEL };
  const headers = { Authorization: `Bearer ${job.ws_token}` };
  const answer = await requests.send("GET", `/authorize?keycloakID=${keycloakID}`, headers);
  if (answer.status !== 200) fail(`/authorize answered ${answer.status}: ${answer.body}`);
  return { token: v.parse(Issued, JSON.parse(answer.body)).token, keycloakID, channel: CHANNEL };
}

async function open(some: readonly Identity[]): Promise<(() => void)[]> {
  const closers: (() => void)[] = [];
  const queue = some.values();
  const worker = async () => {
    for (const identity of queue) closers.push((await pages.open(identity)).close);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT_CONNECTS }, worker));
  return closers;
}

/** Opens all pages; where that is too cheap for the clock, closes and opens them again. */
async function connect(identities: readonly Identity[]) {
  // The first tenth stays open but is not counted: it pays for the code's first run and for the heap's first growth.
  const warm = Math.ceil(identities.length / 10);
  const counted = identities.slice(warm);
  await open(identities.slice(0, warm));
  await Bun.sleep(job.settle_seconds * 500);
  const before = memoryKib(job.pid);
  let [connects, cpu, seconds, kib] = [0, 0, 0, 0];
  for (let lap = 1; ; lap++) {
    let closers: (() => void)[] = [];
    const taken = await during(async () => void (closers = await open(counted)));
    connects += counted.length;
    cpu += taken.cpu;
    seconds += taken.seconds;
    await Bun.sleep(job.settle_seconds * 1000);
    if (lap === 1) kib = memoryKib(job.pid) - before;
    if (cpu >= job.connect_seconds || lap === CONNECT_LAPS) break;
    for (const close of closers) close();
    await Bun.sleep(job.settle_seconds * 500);
  }
  return {
    connect_us: (cpu * 1e6) / connects,
    connects_per_second: connects / seconds,
    connection_kib: kib / counted.length,
  };
}

async function run(): Promise<Run> {
  const users = Array.from({ length: job.connections }, () => crypto.randomUUID());

  const identities: Identity[] = [];
  const queue = users.values();
  const authorizing = await during(() =>
    work(IN_FLIGHT_AUTHORIZATIONS, async (requests) => {
      for (const user of queue) identities.push(await authorize(requests, user));
    }),
  );
  const connecting = await connect(identities);

  const toAll: Send = (_, requests) => notify(requests, { channel: CHANNEL }, job.connections);
  const toOne: Send = (round, requests) => {
    const keycloak = users[(round * 7) % users.length] ?? fail("no users");
    return notify(requests, { channel: CHANNEL, keycloak }, 1);
  };
  const warmUp = (rounds: number, send: Send) =>
    work(1, async (requests) => {
      for (let round = 0; round < rounds; round++) await send(round, requests);
    });
  await warmUp(3, toAll);
  const broadcast = await burn(1, toAll);
  const broadcast16 = await burn(16, toAll);
  await warmUp(500, toOne);
  const notify_us = await burn(1, toOne);
  const notify_16_us = await burn(16, toOne);

  return {
    ...connecting,
    authorize_us: job.ws_token === undefined ? null : (authorizing.cpu * 1e6) / job.connections,
    broadcast_us: broadcast / job.connections,
    broadcast_16_us: broadcast16 / job.connections,
    notify_us,
    notify_16_us,
    load_percent,
  };
}

process.stdout.write(JSON.stringify(await run()));
// The kernel closes thousands of connections faster than a loop does.
process.exit(0);
