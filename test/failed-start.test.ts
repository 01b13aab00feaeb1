import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { env, launch, run } from "./support/binary.ts";
import { folder } from "./support/folder.ts";
import { settingsOf, start, quietLog } from "./support/service.ts";
import { startService } from "../src/service.ts";

const journalIn = (path: string) => ({ AMPER_JOURNAL: `sqlite:${path}` });

test("a start that finds its port taken gives the journal free", async () => {
  const { url } = await launch();
  const path = join(folder(), "journal.db");
  const { code } = await run([], { env: { ...env, AMPER_PORT: new URL(url).port, ...journalIn(path) } });
  expect(code).toBe(1);
  expect(existsSync(`${path}.owner`)).toBe(false);
});

test("a start that cannot listen on its address gives the journal free, in the same process too", async () => {
  const path = join(folder(), "journal.db");
  // An address for documentation, which no machine has (RFC 5737).
  const settings = settingsOf({ AMPER_HOST: "192.0.2.1", ...journalIn(path) });
  await expect(startService(settings, { log: quietLog })).rejects.toThrow();
  const { url } = await start({ AMPER_TAKEOVER_SECONDS: "0", ...journalIn(path) });
  expect((await fetch(`${url}/health/ready`)).status).toBe(200);
});
