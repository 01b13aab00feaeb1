import { expect, test } from "bun:test";
import { join } from "node:path";
import { post } from "./support/client.ts";
import { createClocks } from "./support/clocks.ts";
import { folder } from "./support/folder.ts";
import { apiKey, start } from "./support/service.ts";

/** A repeat is never sent again within the hours of its Idempotency-Key, whatever the wall clock says. */

const hour_ms = 3_600_000;
const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };
const body = { API_KEY: apiKey, msg: "once", channel: "msf" };
const isRepeated = async (url: string) =>
  (await post(url, body, { "Idempotency-Key": "a" })).headers.get("idempotent-replayed") === "true";

for (const [name, journal] of Object.entries(journals)) {
  test.each([30 * 24, -30 * 24])(`a key outlives a clock that is %i hours off for an hour, ${name}`, async (hours) => {
    const clocks = createClocks();
    const { url } = await start({ AMPER_JOURNAL: journal() }, clocks);
    expect(await isRepeated(url)).toBe(false);
    clocks.step(hours * hour_ms);
    clocks.pass(hour_ms);
    expect(await isRepeated(url)).toBe(true);
    clocks.step(-hours * hour_ms);
    clocks.pass(hour_ms);
    expect(await isRepeated(url)).toBe(true);
  });

  test(`a key that came while the clock was behind is forgotten in the end, ${name}`, async () => {
    const clocks = createClocks();
    clocks.step(-30 * 24 * hour_ms);
    const { url } = await start({ AMPER_JOURNAL: journal() }, clocks);
    expect(await isRepeated(url)).toBe(false);
    clocks.step(30 * 24 * hour_ms);
    clocks.pass(23 * hour_ms);
    expect(await isRepeated(url)).toBe(true);
    clocks.pass(2 * hour_ms);
    expect(await isRepeated(url)).toBe(false);
  });
}

test("a key that came while the clock was a day ahead outlives a restart", async () => {
  const clocks = createClocks();
  const env = { AMPER_JOURNAL: journals.sqlite() };
  const first = await start(env, clocks);
  clocks.step(24 * hour_ms + 60_000);
  expect(await isRepeated(first.url)).toBe(false);
  await first.stop();
  const second = await start(env, clocks);
  expect(await isRepeated(second.url)).toBe(true);
});
