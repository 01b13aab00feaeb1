import { expect, test } from "bun:test";
import { launch, type Run } from "./support/binary.ts";
import { createRequests } from "./bench/requests.ts";
import { connected, notify, transports } from "./support/client.ts";
import { flood, idleKinds, type Counts } from "./support/flood.ts";
import { metric, patience_ms, until } from "./support/raw.ts";
import { report, scale } from "./support/scale.ts";
import { apiKey } from "./support/service.ts";

/** What one who wants nothing but to take room cannot do to those who are there, and to those who come. */

/** As many descriptors as this process may give to another, which is what the service has for connections. */
const descriptors = Number(Bun.spawnSync(["sh", "-c", "ulimit -Hn"]).stdout.toString()) || 1_000_000;
/** Of each kind so many; those by polling need no descriptor. */
const perKind = Math.min(Math.ceil(scale.floodConnections / idleKinds.length), Math.floor((descriptors - 500) / 4));
const connections = perKind * idleKinds.length;
if (connections < scale.floodConnections)
  process.stderr.write(`a flood of ${connections} only: ${descriptors} descriptors are allowed here\n`);
/** More than may wait at once: those that say nothing make way for others. */
const isFull = connections >= 20_000;

/** Not often: as long as there is something to do, the collector puts off its work. */
const poll_ms = 500;
/** It goes back in pieces. */
const steady_bytes = 2 ** 20;

const memory = (url: string): Promise<number> => metric(url, "process_resident_memory_bytes");

/**
 * Waits until the witness is alone, and the memory below the limit and falling no more. Resolves with it. Bun collects what is
 * dead ten seconds after it has become quiet, seldom thirty, and gives it back to the system then.
 */
async function settled(url: string, limit_bytes: number): Promise<number> {
  const deadline_ms = performance.now() + patience_ms;
  for (let before_bytes = Infinity; ;) {
    const [sessions, now_bytes] = [await metric(url, "amper_sessions"), await memory(url)];
    if (sessions === 1 && now_bytes <= limit_bytes && before_bytes - now_bytes < steady_bytes) return now_bytes;
    if (performance.now() > deadline_ms) {
      throw new Error(`not within ${patience_ms} ms: ${sessions} sessions, ${now_bytes} of ${limit_bytes} bytes`);
    }
    before_bytes = now_bytes;
    await Bun.sleep(poll_ms);
  }
}

/** A page that has nothing to do with it: from its token to its first notification, without a single failure on the way. */
async function comeAndGo(url: string): Promise<void> {
  const { socket, count } = await connected(url, "newcomer", "msf");
  await notify(url, { msg: "welcome", keycloak: "newcomer" });
  expect(await count(1)).toEqual(["welcome"]);
  socket.disconnect();
}

/** Fills all rooms, guesses keys and tokens meanwhile, and lets good pages come and go all the time. */
async function floodOf(run: Run, each: number, firstAddress: number): Promise<Counts> {
  const port = Number(new URL(run.url).port);
  const refused = () => metric(run.url, 'amper_limited_total{limit="auth_failures_per_minute"}');
  const refusedBefore = await refused();
  const idle = { idle: Math.round(each / 2), guessers: 0 };
  const filling = flood(port, [
    { ...idle, firstAddress },
    { ...idle, firstAddress: firstAddress + 200_000 },
  ]);
  const guessing = await flood(port, [{ firstAddress: firstAddress + 400_000, idle: 0, guessers: 8 }]);
  const full = new AbortController();
  void filling.finally(() => full.abort());
  do await comeAndGo(run.url);
  while (!full.signal.aborted);
  const filled = await filling;
  expect(await metric(run.url, "amper_sessions_unauthenticated")).toBeLessThanOrEqual(10_000);
  for (let i = 0; i < 10; i++) await comeAndGo(run.url);
  await until("those that guess have to wait", async () => (await refused()) > refusedBefore + 100);
  const [idled, guessed] = [await filled.stop(), await guessing.stop()];
  return { ...idled, ...guessed };
}

function countOf(counts: Counts, pattern: RegExp): number {
  return Object.entries(counts).reduce((sum, [name, count]) => sum + (pattern.test(name) ? count : 0), 0);
}

/** The memory is measured after a full flood only: what a small one takes is not more than the collector leaves lying about. */
const what = isFull ? "pages come, are notified, and the memory comes back" : "pages come, and are notified";

test(`${connections} idle connections and guessed keys: ${what}`, async () => {
  const run = await launch({
    env: { AMPER_CONNECT_TIMEOUT_MS: "5000" },
    wrapper: ["sh", "-c", 'ulimit -n "$(ulimit -Hn)" && exec "$@"', "sh"],
  });
  const { url, lines } = run;
  const witness = await connected(url, "witness", "quiet", transports["websocket only"]);
  await comeAndGo(url);
  const fresh_bytes = await memory(url);
  // What is made once stays: compiled code, pools, what the limits know of addresses. A second flood leaves nothing more.
  await floodOf(run, perKind, 1);
  const before_bytes = await settled(url, isFull ? fresh_bytes * 1.75 : Infinity);

  const counts = await floodOf(run, perKind, 1_000_000);
  const tried = countOf(counts, new RegExp(`^(${idleKinds.join("|")}) (open|\\d+|refused)$`));
  expect(tried).toBe(perKind * idleKinds.length);
  // Nobody is refused by the system: the service has room for all that it lets wait.
  expect(countOf(counts, /refused$/)).toBe(0);
  expect(countOf(counts, /^(authorize|notify|connect) /)).toBeGreaterThan(connections / 20);
  expect(countOf(counts, /^(authorize|notify|connect) (2|5)/)).toBe(0);
  // Who goes on guessing has to wait; a page with a bad token is refused for good.
  for (const kind of ["authorize 429", "notify 429", "connect token_invalid"]) expect(counts[kind]).toBeGreaterThan(0);
  if (isFull) expect(countOf(counts, /^(websocket|session) closed$/)).toBeGreaterThan(0);

  await notify(url, { msg: "still there", keycloak: "witness" });
  expect(await witness.count(1)).toEqual(["still there"]);
  expect(witness.socket.connected).toBe(true);
  const after_bytes = await settled(url, isFull ? before_bytes * 1.2 : Infinity);
  expect(await metric(url, 'amper_connections{transport="websocket"}')).toBe(1);
  expect(await metric(url, 'amper_connections{transport="polling"}')).toBe(0);
  expect(lines.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  report(
    `${JSON.stringify(counts)}; memory in bytes: ${fresh_bytes} fresh, ${before_bytes} and ${after_bytes} after a flood`,
  );
});

test("when its descriptors run out, who is there is served, and who comes as well", async () => {
  const { url } = await launch({ wrapper: ["sh", "-c", 'ulimit -n 200 && exec "$@"', "sh"] });
  const port = Number(new URL(url).port);
  const witness = await connected(url, "witness", "msf", transports["websocket only"]);
  const backend = createRequests(port);
  const call = async (msg: number) => {
    const body = JSON.stringify({ msg, keycloak: "witness" });
    const { status } = await backend.send("POST", "/notify", { "X-API-Key": apiKey }, body);
    expect(status).toBe(200);
    expect((await witness.count(msg)).at(-1)).toBe(msg);
  };
  await call(1);
  // More than it can take, and all that may wait to be taken.
  const { stop } = await flood(port, [{ firstAddress: 1, kinds: ["half"], idle: 600, guessers: 0 }]);
  await call(2);
  const newcomer = comeAndGo(url);
  for (let msg = 3; msg < 100; msg++) await call(msg);
  await newcomer;
  // Or else there were enough.
  expect(await metric(url, 'amper_limited_total{limit="descriptors"}')).toBeGreaterThan(100);
  await stop();
  await call(100);
  backend.close();
});
