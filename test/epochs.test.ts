import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Journal } from "../src/journal/journal.ts";
import { folder } from "./support/folder.ts";
import { alice, append, keep, notification, record } from "./support/journal-suite.ts";
import { createClock } from "./support/realm.ts";
import { openAt } from "./support/sqlite-journal.ts";

/** Each start begins an epoch. A journal that is restarted every day must not keep all of them. */

let journal: Journal | undefined;
afterEach(() => journal?.close());

async function open(path: string, now: () => number): Promise<Journal> {
  await journal?.close();
  journal = await openAt(path, { now });
  record(journal);
  return journal;
}

describe("an epoch", () => {
  test("is forgotten once the window has passed all of its entries", async () => {
    const path = join(folder(), "journal.db");
    const clock = createClock();
    for (let life = 0; life < 10; life++) {
      await append(await open(path, clock.now), notification(life));
      clock.move(keep.window_ms + 1);
    }
    const { epochs } = (await open(path, clock.now)).history;
    // The epoch of the last entry stays: a client with the cursor of that entry has missed nothing.
    expect(epochs.map(({ first }) => first)).toEqual([10, 11]);
  });

  test("is kept while one of its entries is in the window", async () => {
    const path = join(folder(), "journal.db");
    const clock = createClock();
    for (let life = 0; life < 5; life++) await append(await open(path, clock.now), notification(life));
    const { epochs } = (await open(path, clock.now)).history;
    expect(epochs.map(({ first }) => first)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("is kept while one of its notifications is held, and no longer", async () => {
    const path = join(folder(), "journal.db");
    const clock = createClock();
    const held = await append(await open(path, clock.now), notification("held", { users: [alice] }, 3600));
    for (let life = 0; life < 3; life++) {
      await append(await open(path, clock.now), notification(life));
      clock.move(keep.window_ms + 1);
    }
    const { history } = await open(path, clock.now);
    expect(history.held.map(({ entry }) => entry.cursor)).toEqual([held.cursor]);
    clock.move(3_600_000);
    const { epochs } = (await open(path, clock.now)).history;
    expect(epochs.map(({ epoch }) => epoch)).not.toContain(history.epochs[0]?.epoch);
  });
});
