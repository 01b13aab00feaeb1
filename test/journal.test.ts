import { afterEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMemoryJournal } from "../src/journal/memory.ts";
import { journalSuite } from "./support/journal-suite.ts";
import { openAt } from "./support/sqlite-journal.ts";

journalSuite("memory:", {
  makePlace: () => ({ open: async (now) => createMemoryJournal({ now }) }),
  forgets: "it lives and dies with its process",
});

for (const sync of ["normal", "full"] as const) {
  const folders: string[] = [];
  journalSuite(`sqlite: ${sync}`, {
    makePlace() {
      const folder = mkdtempSync(join(tmpdir(), "amper-channels-journal-"));
      folders.push(folder);
      const path = join(folder, "journal.db");
      return { open: (now) => openAt(path, { sync, now }) };
    },
  });
  // After the suite's own, which closes the journals.
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });
}
