import { Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { join } from "node:path";
import { folder } from "./support/folder.ts";
import { start } from "./support/service.ts";

// https://sqlite.org/pragma.html#pragma_synchronous: 1 survives the death of the process, 2 the loss of power, too.
test.each([
  ["normal", 1],
  ["full", 2],
] as const)("journal_sync = %s is how the journal's connection to SQLite syncs", async (sync, level) => {
  const databases = new Set<Database>();
  const { run } = Database.prototype;
  const spy = spyOn(Database.prototype, "run").mockImplementation(function (this: Database, ...given) {
    databases.add(this);
    return run.apply(this, given);
  });
  try {
    await start({ AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}`, AMPER_JOURNAL_SYNC: sync });
  } finally {
    spy.mockRestore();
  }
  // Only the connection itself can tell.
  const levels = Array.from(databases, (db) => db.query("PRAGMA synchronous").get());
  expect(levels).toEqual([{ synchronous: level }]);
});
