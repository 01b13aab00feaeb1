import { describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, listening, spawn, type Run } from "./support/binary.ts";
import { authorize, connected, next, notify, post, transports, type Page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { describeWith, type Part } from "./support/parts.ts";
import { until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/**
 * A restart is short where the next process starts after the end of this one, and gentle where it waits. Nothing is lost either
 * way. An hour is what a paced end would take: it shows that an end was not.
 */

const anHour = { AMPER_DRAIN_SECONDS: "3600" };
const journalPath = () => join(folder(), "journal.db");
const onJournal = (path: string) => ({ AMPER_JOURNAL: `sqlite:${path}` });
/** Others poll at first, and those are ended before the service stops to listen. */
const webSocket = transports["websocket only"];
const user = (i: number) => `user-${i % 40}`;

/** A hundred pages on all transports, some of them tabs of one user. */
async function openPages(url: string): Promise<Page[]> {
  const { token } = await authorize(url);
  const kinds = Object.values(transports);
  const opening = Array.from({ length: 100 }, (_, i) =>
    connected(url, user(i), "msf", { token, ...kinds[i % kinds.length] }),
  );
  return Promise.all(opening);
}

/** A backend that notifies everybody again and again, and repeats each call until it is accepted. */
function notifySteadily(url: string) {
  const accepted: number[] = [];
  let refused = 0;
  let outage_ms = 0;
  const over = new AbortController();
  async function once(n: number): Promise<void> {
    let since_ms: number | undefined;
    await until("the notification is accepted", async () => {
      const body = { API_KEY: apiKey, msg: n, channel: "msf" };
      const response = await post(url, body, { "Idempotency-Key": `n-${n}` }).catch(() => undefined);
      if (response?.status === 200) return true;
      // Nothing but "try again": no client has to know that there is a restart.
      expect([503, undefined]).toContain(response?.status);
      since_ms ??= performance.now();
      refused++;
      return false;
    });
    if (since_ms !== undefined) outage_ms = Math.max(outage_ms, performance.now() - since_ms);
    accepted.push(n);
  }
  async function work(): Promise<void> {
    for (let n = 0; !over.signal.aborted; n++) await once(n);
  }
  const working = work();
  return {
    accepted,
    /** Resolves when so many more are accepted. */
    async more(count: number): Promise<void> {
      const wanted = accepted.length + count;
      await until("more are accepted", () => accepted.length >= wanted);
    },
    async end(): Promise<{ accepted: number[]; refused: number; outage_ms: number }> {
      over.abort();
      await working;
      return { accepted, refused, outage_ms };
    },
  };
}

async function expectNothingLost(pages: readonly Page[], accepted: readonly number[]): Promise<void> {
  await Promise.all(pages.map((one) => one.count(accepted.length)));
  for (const { received } of pages) expect(received).toEqual([...accepted]);
}

function report(name: string, { refused, outage_ms }: { refused: number; outage_ms: number }): void {
  const line = `${name}: ${refused} refused calls, none accepted for ${outage_ms.toFixed(0)} ms, 100 pages\n`;
  process.stderr.write(line);
}

describe("the executable", () => {
  test("stop, then start: ends all pages at once, and nothing is lost", async () => {
    const env = { ...anHour, ...onJournal(journalPath()) };
    const first = await launch({ env });
    const pages = await openPages(first.url);
    const backend = notifySteadily(first.url);
    await backend.more(5);
    first.kill("SIGTERM");
    expect(await first.exited).toBe(0);
    await launch({ env: { ...env, AMPER_PORT: new URL(first.url).port } });
    await backend.more(20);
    const figures = await backend.end();
    await expectNothingLost(pages, figures.accepted);
    for (const { socket } of pages) expect(socket.recovered).toBe(true);
    report("stop, then start", figures);
  });

  test("a successor waits: pages are sent to it over drain_seconds, and nothing is lost", async () => {
    const env = { AMPER_DRAIN_SECONDS: "4", ...onJournal(journalPath()) };
    const first = await launch({ env });
    const pages = await openPages(first.url);
    const backend = notifySteadily(first.url);
    await backend.more(5);
    const successor = await spawn({ env: { ...env, AMPER_PORT: new URL(first.url).port } });
    await successor.said(/waiting for the journal/);
    const viaWebSocket = pages.filter(({ socket }) => socket.io.engine.transport.name === "websocket");
    let told = 0;
    const farewells = viaWebSocket.map(async ({ socket }) => {
      const farewell = await next(socket, "closing");
      told++;
      return farewell;
    });
    const backAgain = viaWebSocket.map(({ socket }) => next(socket, "connect"));
    first.kill("SIGTERM");
    await Promise.race(backAgain);
    // Not all in one moment: the first is back before the last is told.
    expect(told).toBeLessThan(viaWebSocket.length);
    await listening(successor);
    // The successor accepts while the others are still with the first one.
    await backend.more(20);
    expect(await first.exited).toBe(0);
    for (const farewell of await Promise.all(farewells))
      expect(farewell).toEqual({ code: "draining", reconnect: true });
    await backend.more(20);
    const figures = await backend.end();
    await expectNothingLost(pages, figures.accepted);
    report("a successor waits", figures);
  });

  test("a successor that waits is one also after this process has followed on a crash", async () => {
    const path = journalPath();
    const env = { ...anHour, ...onJournal(path) };
    const crashed = await launch({ env });
    crashed.kill("SIGKILL");
    await crashed.exited;
    const first = await launch({ env });
    const { socket } = await connected(first.url, "alice", "msf", webSocket);
    await connected(first.url, "bob", "msf", webSocket);
    const told = next(socket, "closing");
    const successor = await spawn({ env });
    await successor.said(/waiting for the journal/);
    first.kill("SIGTERM");
    // Takes an hour: paced. Alice is the first of two.
    await listening(successor);
    expect(await Promise.race([first.exited, told])).toEqual({ code: "draining", reconnect: true });
    first.kill("SIGKILL");
  });
});

/** Ends by itself, or the test takes an hour. */
async function expectUnpaced(first: Run): Promise<void> {
  const pages = await Promise.all(
    ["alice", "bob", "carol"].map((name) => connected(first.url, name, "msf", webSocket)),
  );
  const told = pages.map(({ socket }) => next(socket, "closing"));
  first.kill("SIGTERM");
  for (const one of told) expect(await one).toEqual({ code: "draining", reconnect: true });
  expect(await first.exited).toBe(0);
}

describe("nobody waits", () => {
  test("a journal in memory has no successor", async () => {
    await expectUnpaced(await launch({ env: { ...anHour, AMPER_JOURNAL: "memory:" } }));
  });

  test("another process on another journal is none", async () => {
    await launch({ env: onJournal(journalPath()) });
    await expectUnpaced(await launch({ env: { ...anHour, ...onJournal(journalPath()) } }));
  });

  test.each([
    ["of a process that was killed", undefined],
    ["of a process whose number another has by now", "process 1 on here\n"],
    ["of another machine", "process 4711 on elsewhere\nfec8d7a4-0000-4000-8000-000000000000\n"],
  ])("the name %s is none", async (_, name) => {
    const path = journalPath();
    const crashed = await launch({ env: onJournal(path) });
    crashed.kill("SIGKILL");
    await crashed.exited;
    expect(existsSync(`${path}.owner`)).toBe(true);
    if (name !== undefined) writeFileSync(`${path}.owner`, name);
    await expectUnpaced(await launch({ env: { ...anHour, ...onJournal(path) } }));
    expect(existsSync(`${path}.owner`)).toBe(false);
  });

  test("a successor that gave up before is none", async () => {
    const path = journalPath();
    const env = { ...anHour, ...onJournal(path) };
    const first = await launch({ env });
    const impatient = await spawn({ env: { ...env, AMPER_TAKEOVER_SECONDS: "0" } });
    expect(await impatient.exited).toBe(1);
    const told = await spawn({ env });
    await told.said(/waiting for the journal/);
    told.kill("SIGTERM");
    expect(await told.exited).toBe(0);
    await expectUnpaced(first);
  });
});

const canMount = Bun.spawnSync(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).exitCode === 0;
const mounts: Part = { missing: canMount ? undefined : "this machine lets nobody make a mount namespace" };

describeWith(mounts, "a name that cannot be removed", () => {
  test("is no successor, and stops no end", async () => {
    const path = journalPath();
    const stale = join(folder(), "stale");
    writeFileSync(stale, "process 1 on elsewhere\n");
    writeFileSync(`${path}.owner`, "");
    // In a mount namespace of its own.
    const mount = `mount --bind '${stale}' '${path}.owner' && exec "$@"`;
    const wrapper = ["unshare", "--mount", "sh", "-c", mount, "sh"];
    await expectUnpaced(await launch({ env: { ...anHour, ...onJournal(path) }, wrapper }));
  });
});

test("in one process: what the successor accepts at once is recovered by those who come later", async () => {
  const env = { ...onJournal(journalPath()), AMPER_DRAIN_SECONDS: "1", AMPER_TAKEOVER_SECONDS: "30" };
  const first = await start(env);
  const alice = await connected(first.url, "alice", "msf", webSocket);
  await notify(first.url, { msg: 0, keycloak: "alice" });
  await alice.count(1);
  const starting = start({ ...env, AMPER_PORT: new URL(first.url).port });
  const stopped = first.stop();
  const { url } = await starting;
  for (let n = 1; n <= 20; n++) await notify(url, { msg: n, keycloak: "alice" });
  expect(await stopped).toBe(true);
  expect(await alice.count(21)).toEqual(Array.from({ length: 21 }, (_, n) => n));
  expect(alice.socket.recovered).toBe(true);
});
