// bun test/bench/storm.ts: everybody comes back after a restart. What a reconnect costs the server must depend on what the page
// missed, and not on what else is in the window; and where all come in the same moment, nobody waits for longer than it takes.
import { join } from "node:path";
import * as v from "valibot";
import { folder } from "../support/folder.ts";
import { cpuSeconds } from "./measure.ts";
import { createPages, type Identity, type PageEvents } from "./page.ts";
import { API_KEY, findPeers, type Peer, start, stopEverything } from "./peers.ts";
import { createRequests } from "./requests.ts";

const STORMS = [
  { pages: 2_000, others: 0, inFlight: 16, heldUp_ms: 0 },
  { pages: 2_000, others: 5_000, inFlight: 16, heldUp_ms: 0 },
  { pages: 5_000, others: 0, inFlight: 5_000, heldUp_ms: 0 },
  // As by a slower machine: all of them come before one is accepted. No more than the kernel's usual net.core.somaxconn.
  { pages: 4_000, others: 0, inFlight: 4_000, heldUp_ms: 100 },
];
const ROUNDS = 3;
const IN_FLIGHT = 16;
const CHANNEL = "storm";
const BINARY = join(import.meta.dir, "../../dist/amper-channels");
const Issued = v.object({ token: v.string() });

function fail(reason: string): never {
  throw new Error(reason);
}

/** Does all of the work, so many at a time. */
async function each<T>(items: Iterable<T>, work: (item: T) => Promise<void>, inFlight = IN_FLIGHT): Promise<void> {
  const queue = Iterator.from(items);
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
}

async function notify(port: number, bodies: Iterable<object>): Promise<void> {
  await each(bodies, async (body) => {
    const requests = createRequests(port);
    const json = JSON.stringify({ API_KEY, ...body });
    const { status } = await requests.send("POST", "/notify", { "Content-Type": "application/json" }, json);
    requests.close();
    if (status !== 200) fail(`/notify answered ${status}`);
  });
}

async function authorize(port: number, wsToken: string): Promise<string> {
  const requests = createRequests(port);
  const answer = await requests.send("GET", "/authorize", { Authorization: `Bearer ${wsToken}` });
  requests.close();
  return v.parse(Issued, JSON.parse(answer.body)).token;
}

/** One storm: CPU of the server until all pages are back and have what they missed, and the time that it took. */
async function storm(
  ours: Peer,
  { pages: count, others, inFlight, heldUp_ms }: (typeof STORMS)[number],
): Promise<{ cpu_seconds: number; seconds: number }> {
  const { promise: allBack, resolve } = Promise.withResolvers<void>();
  let missed = 0;
  const events: PageEvents = { notified: () => void (++missed === count && resolve()), failed: fail };
  const first = await start(ours);
  const token = await authorize(first.port, ours.ws_token ?? fail("ours has a token"));
  const identities = Array.from({ length: count }, (_, i) => ({ token, keycloakID: `user-${i}`, channel: CHANNEL }));
  const returning: Identity[] = [];
  const pages = createPages(first.port, events);
  await each(identities, async (identity) => {
    const { close, pid } = await pages.open(identity);
    returning.push({ ...identity, pid: pid ?? fail("the server gives no pid") });
    close();
  });
  const elsewhere = { msg: { n: 1_000_000, text: "for somebody else" }, keycloak: "nobody" };
  await notify(
    first.port,
    Array.from({ length: others }, () => elsewhere),
  );
  await notify(first.port, [{ msg: { n: 1_000_001 }, channel: CHANNEL }]);
  await first.stop();

  const second = await start(ours);
  const back = createPages(second.port, events);
  const [before, from_ms] = [cpuSeconds(second.pid), performance.now()];
  const closers: (() => void)[] = [];
  const comeBack = async (identity: Identity) => {
    const { close, pid } = await back.open(identity);
    closers.push(close);
    if (pid !== identity.pid) fail("a page was not recovered");
  };
  if (heldUp_ms > 0) process.kill(second.pid, "SIGSTOP");
  const coming = each(returning, comeBack, inFlight);
  await Bun.sleep(heldUp_ms);
  process.kill(second.pid, "SIGCONT");
  await coming;
  await allBack;
  const [cpu_seconds, seconds] = [cpuSeconds(second.pid) - before, (performance.now() - from_ms) / 1000];
  for (const close of closers) close();
  await second.stop();
  return { cpu_seconds, seconds };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

const journals = folder();
process.once("exit", stopEverything);
const { peers } = await findPeers({ ours: [BINARY], sqlite: false, before: undefined });
const template = peers.find(({ name }) => name === "ours") ?? fail("there is no server");
const results = STORMS.map((given) => ({ given, cpu: [0].slice(1), seconds: [0].slice(1) }));
for (let round = 0; round < ROUNDS; round++) {
  for (const [place, { given, cpu, seconds }] of results.entries()) {
    const journal = `sqlite:${join(journals, `${round}-${place}.db`)}`;
    const environment = (port: number) => ({
      ...template.environment(port),
      AMPER_JOURNAL: journal,
      // All of them come from one address here.
      AMPER_MAX_UNAUTHENTICATED_PER_ADDRESS: "10000",
    });
    const one = await storm({ ...template, environment }, given);
    cpu.push(one.cpu_seconds);
    seconds.push(one.seconds);
  }
}
for (const { given, cpu, seconds } of results) {
  const { pages, others, inFlight, heldUp_ms } = given;
  const each_us = ((median(cpu) * 1e6) / pages).toFixed(0);
  const taken = `${median(seconds).toFixed(2)} s, ${(median(seconds) / median(cpu)).toFixed(2)} × the CPU time`;
  const line = `${pages} pages come back, ${inFlight} at a time, server held up for ${heldUp_ms} ms, ${others} notifications for others in the window: ${each_us} µs of CPU each, ${taken}`;
  process.stdout.write(`${line}\n`);
}
process.exit(0);
