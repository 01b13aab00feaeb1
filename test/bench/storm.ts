// bun test/bench/storm.ts: everybody comes back at once after a restart. What a reconnect costs the server must depend on
// what the page missed, and not on what else is in the window.
import { join } from "node:path";
import * as v from "valibot";
import { folder } from "../support/folder.ts";
import { cpuSeconds } from "./measure.ts";
import { createPages, type Identity, type PageEvents } from "./page.ts";
import { API_KEY, findPeers, type Peer, start, stopEverything } from "./peers.ts";
import { createRequests } from "./requests.ts";

const PAGES = 2_000;
const WINDOWS = [0, 5_000];
const ROUNDS = 3;
const IN_FLIGHT = 16;
const CHANNEL = "storm";
const BINARY = join(import.meta.dir, "../../dist/amper-channels");
const Issued = v.object({ token: v.string() });

function fail(reason: string): never {
  throw new Error(reason);
}

/** Does all of the work, `IN_FLIGHT` at a time. */
async function each<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const queue = Iterator.from(items);
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
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

/** One storm: CPU in µs of the server for each page that comes back, with so many notifications for others in the window. */
async function storm(ours: Peer, others: number): Promise<number> {
  const { promise: allBack, resolve } = Promise.withResolvers<void>();
  let missed = 0;
  const events: PageEvents = { notified: () => void (++missed === PAGES && resolve()), failed: fail };
  const first = await start(ours);
  const token = await authorize(first.port, ours.ws_token ?? fail("ours has a token"));
  const identities = Array.from({ length: PAGES }, (_, i) => ({ token, keycloakID: `user-${i}`, channel: CHANNEL }));
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
  const before = cpuSeconds(second.pid);
  const closers: (() => void)[] = [];
  await each(returning, async (identity) => {
    const { close, pid } = await back.open(identity);
    closers.push(close);
    if (pid !== identity.pid) fail("a page was not recovered");
  });
  await allBack;
  const cpu = cpuSeconds(second.pid) - before;
  for (const close of closers) close();
  await second.stop();
  return (cpu * 1e6) / PAGES;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

const journals = folder();
process.once("exit", stopEverything);
const { peers } = await findPeers({ ours: [BINARY], sqlite: false, before: undefined });
const template = peers.find(({ name }) => name === "ours") ?? fail("there is no server");
const results = WINDOWS.map((others) => ({ others, cpu: [0].slice(1) }));
for (let round = 0; round < ROUNDS; round++) {
  for (const { others, cpu } of results) {
    const journal = `sqlite:${join(journals, `${round}-${others}.db`)}`;
    const environment = (port: number) => ({ ...template.environment(port), AMPER_JOURNAL: journal });
    cpu.push(await storm({ ...template, environment }, others));
  }
}
for (const { others, cpu } of results) {
  const line = `${PAGES} pages come back, ${others} notifications for others in the window: ${median(cpu).toFixed(0)} µs of CPU each`;
  process.stdout.write(`${line}\n`);
}
process.exit(0);
