import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { launch, spawn, type Started } from "./support/binary.ts";
import { folder } from "./support/folder.ts";
import { describeWith, type Part } from "./support/parts.ts";
import { until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** Signals count from the first instant, in every phase, and also for a process to which the kernel gives none by default. */

/** As process 1 of a container: the kernel drops each signal for which it has no handler. */
const asFirst = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const canUnshare = Bun.spawnSync([...asFirst, "true"]).exitCode === 0;
const container: Part = { missing: canUnshare ? undefined : "this machine lets nobody make a PID namespace" };

/** The executable's own process. */
async function processOf({ pid }: Started, wrapper: readonly string[]): Promise<number> {
  if (wrapper.length === 0) return pid;
  let child = 0;
  await until("the wrapper has a child", () => {
    child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);
    return child > 0;
  });
  return child;
}

const journalPath = () => join(folder(), "journal.db");

/** Nobody has the journal, and nobody's name stands beside it. */
async function expectFree(path: string): Promise<void> {
  expect(existsSync(`${path}.owner`)).toBe(false);
  const next = await start({ AMPER_JOURNAL: `sqlite:${path}`, AMPER_TAKEOVER_SECONDS: "0" });
  expect(await next.stop()).toBe(true);
}

/** Reads its settings from a pipe: `reading` resolves when it does, with what lets it go on. */
async function spawnReading(path: string, wrapper: readonly string[]) {
  const config = join(folder(), "settings.toml");
  expect(Bun.spawnSync(["mkfifo", config]).exitCode).toBe(0);
  const started = await spawn({ args: ["--config", config], env: { AMPER_JOURNAL: `sqlite:${path}` }, wrapper });
  async function reading(): Promise<() => Promise<void>> {
    // Waits until the other side has opened it.
    const pipe = await open(config, "w");
    return async () => {
      await pipe.write("drain_seconds = 0\n");
      await pipe.close();
    };
  }
  return { ...started, reading };
}

const ways: Record<string, { readonly part: Part; readonly wrapper: readonly string[] }> = {
  "process 1 of a container": { part: container, wrapper: asFirst },
  "an ordinary process": { part: { missing: undefined }, wrapper: [] },
};

for (const [way, { part, wrapper }] of Object.entries(ways)) {
  describeWith(part, way, () => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      test(`${signal} while it reads its settings ends it with 0`, async () => {
        const path = journalPath();
        const started = await spawnReading(path, wrapper);
        const goOn = await started.reading();
        process.kill(await processOf(started, wrapper), signal);
        await goOn();
        expect(await started.exited).toBe(0);
        expect(started.lines.join("\n")).toContain(`"signal":"${signal}"`);
        await expectFree(path);
      });

      test(`${signal} while it waits for the journal ends it, and nothing of its owner`, async () => {
        const path = journalPath();
        const owner = await launch({ env: { AMPER_JOURNAL: `sqlite:${path}` } });
        const name = readFileSync(`${path}.owner`, "utf8");
        const waiting = await spawn({
          env: { AMPER_JOURNAL: `sqlite:${path}`, AMPER_TAKEOVER_SECONDS: "3600" },
          wrapper,
        });
        await waiting.said(/waiting for the journal/);
        process.kill(await processOf(waiting, wrapper), signal);
        expect(await waiting.exited).toBe(0);
        expect(readFileSync(`${path}.owner`, "utf8")).toBe(name);
        owner.kill("SIGTERM");
        expect(await owner.exited).toBe(0);
        await expectFree(path);
      });
    }

    test("SIGHUP while it reads its settings makes it read them once more", async () => {
      const path = journalPath();
      const started = await spawnReading(path, wrapper);
      const goOn = await started.reading();
      const pid = await processOf(started, wrapper);
      process.kill(pid, "SIGHUP");
      await goOn();
      await started.said(/"event":"listening"/);
      const goOnAgain = await started.reading();
      await goOnAgain();
      await started.said(/"event":"settings reloaded"/);
      process.kill(pid, "SIGTERM");
      expect(await started.exited).toBe(0);
      await expectFree(path);
    });
  });
}

test.each([0, 3, 6, 12, 25, 50, 100, 200])("SIGTERM %i ms after the spawn ends it, and leaves nothing", async (ms) => {
  const path = journalPath();
  const spawned_ms = performance.now();
  const started = await spawn({ env: { AMPER_JOURNAL: `sqlite:${path}` } });
  await until("the time has come", () => performance.now() - spawned_ms >= ms);
  started.kill("SIGTERM");
  // Before the first line of our code the kernel ends it, 128 + 15.
  expect([0, 143]).toContain(await started.exited);
  await expectFree(path);
});
