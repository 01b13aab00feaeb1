import { expect, test } from "bun:test";
import { launch, type Run } from "./support/binary.ts";
import { connected, notify, transports } from "./support/client.ts";
import { flood, type Counts, type heavyKinds } from "./support/flood.ts";
import { metric, patience_ms, until } from "./support/raw.ts";
import { report, scale } from "./support/scale.ts";

/** What one address without a credential makes the service keep, by bytes that it never finishes; and that good pages are served meanwhile. */

type Kind = Exclude<(typeof heavyKinds)[number], "late">;

const MiB = 2 ** 20;
/** In all, at the full scale of 20,000: 6,000 bodies, 2,500 messages. */
const part = Math.min(1, scale.floodConnections / 20_000);
const bodies = Math.max(1500, Math.round(6000 * part));
const others = Math.max(500, Math.round(2500 * part));
/** Small enough that a small flood fills it. */
const max_unfinished_bytes = part < 1 ? 16 * MiB : 64 * MiB;
/** Sockets and requests of the flood, some 8 KiB each, and what the collector leaves lying about. */
const margin_bytes = 32 * MiB + (bodies + others) * 8192;

/** How much more there may be while a flood of one kind goes on. Undefined: what is dropped is collected in its own time. */
const bounds: Record<Kind, { count: number; most_bytes: number | undefined; met?: string }> = {
  body: { count: bodies, most_bytes: max_unfinished_bytes + margin_bytes, met: "max_unfinished_bytes" },
  chunks: { count: bodies, most_bytes: undefined, met: "max_unfinished_bytes" },
  data: { count: Math.round(others * 0.8), most_bytes: margin_bytes },
  message: { count: others, most_bytes: others * 2 * 8192 + margin_bytes },
  fragments: { count: others, most_bytes: others * 2 * 8192 + margin_bytes },
  head: { count: others, most_bytes: others * 2 * 16_384 + margin_bytes },
};
const kinds: readonly Kind[] = ["body", "chunks", "data", "message", "fragments", "head"];

const memory = (url: string): Promise<number> => metric(url, "process_resident_memory_bytes");

/** From its token to its first notification. */
async function comeAndGo(url: string): Promise<number> {
  const from = performance.now();
  const { socket, count } = await connected(url, "newcomer", "msf");
  await notify(url, { msg: "welcome", keycloak: "newcomer" });
  expect(await count(1)).toEqual(["welcome"]);
  socket.disconnect();
  return performance.now() - from;
}

interface Course {
  readonly counts: Counts;
  readonly peak_bytes: number;
  readonly slowest_ms: number;
}

/** A flood of one kind from one address; good pages come and go while it rises, and while it is there. */
async function floodOf(run: Run, kind: Kind, firstAddress: number): Promise<Course> {
  const { count } = bounds[kind];
  const job = { kinds: [kind], idle: Math.ceil(count / 2), guessers: 0, isOne: true, firstAddress };
  const rising = flood(Number(new URL(run.url).port), [job, job]);
  const full = new AbortController();
  void rising.finally(() => full.abort());
  let [peak_bytes, slowest_ms] = [0, 0];
  const look = async (): Promise<void> => {
    slowest_ms = Math.max(slowest_ms, await comeAndGo(run.url));
    peak_bytes = Math.max(peak_bytes, await memory(run.url));
  };
  do await look();
  while (!full.signal.aborted);
  const filled = await rising;
  for (let i = 0; i < 5; i++) await look();
  return { counts: await filled.stop(), peak_bytes, slowest_ms };
}

const launchOne = () =>
  launch({
    env: { AMPER_MAX_UNFINISHED_BYTES: String(max_unfinished_bytes) },
    wrapper: ["sh", "-c", 'ulimit -n "$(ulimit -Hn)" && exec "$@"', "sh"],
  });

for (const [i, kind] of kinds.entries()) {
  const { count, most_bytes, met } = bounds[kind];
  const what = most_bytes === undefined ? "" : `keep to ${Math.round(most_bytes / MiB)} MiB, `;
  test(`${count} unfinished ones of the kind "${kind}" ${what}hold up no page, and leave nothing`, async () => {
    const run = await launchOne();
    const { url, lines } = run;
    const witness = await connected(url, "witness", "quiet", transports["websocket only"]);
    await comeAndGo(url);
    const fresh_bytes = await memory(url);
    const { counts, peak_bytes, slowest_ms } = await floodOf(run, kind, 1 + i);
    report(
      `${kind}: ${JSON.stringify(counts)}; ${Math.round(fresh_bytes / MiB)} MiB fresh, ${Math.round(peak_bytes / MiB)} at most; a page in ${Math.round(slowest_ms)} ms at most`,
    );
    if (most_bytes !== undefined) expect(peak_bytes - fresh_bytes).toBeLessThan(most_bytes);
    if (met !== undefined) expect(await metric(url, `amper_limited_total{limit="${met}"}`)).toBeGreaterThan(0);
    await notify(url, { msg: "still there", keycloak: "witness" });
    expect(await witness.count(1)).toEqual(["still there"]);
    const deadline_ms = performance.now() + patience_ms;
    for (let now_bytes = Infinity; now_bytes > fresh_bytes + margin_bytes / 2;) {
      // Not often: as long as there is something to do, the collector puts off its work.
      await Bun.sleep(500);
      now_bytes = await memory(url);
      if (performance.now() > deadline_ms)
        throw new Error(`${now_bytes} bytes are left of a flood, ${fresh_bytes} before`);
    }
    await until("the bytes are given back", async () => (await metric(url, "amper_unfinished_bytes")) === 0);
    expect(lines.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  });
}

test("thousands of bodies that never end do not hold up a stop, nor crash it", async () => {
  const run = await launchOne();
  const port = Number(new URL(run.url).port);
  const slow = await flood(port, [{ kinds: ["late"], idle: 3500, guessers: 0, firstAddress: 1 }]);
  await until("they are there", async () => (await metric(run.url, "amper_unfinished_bytes")) === 350_000);
  run.kill("SIGTERM");
  expect(await run.exited).toBe(0);
  expect(await slow.stop()).toMatchObject({ "late closed": 3500 });
});
