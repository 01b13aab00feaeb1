import { join } from "node:path";
import { createMemoryJournal } from "../src/journal/memory.ts";
import { folder } from "./support/folder.ts";
import { journalSuite, keep } from "./support/journal-suite.ts";
import { openAt } from "./support/sqlite-journal.ts";

journalSuite("memory:", {
  makePlace: () => ({ open: async (now) => createMemoryJournal(keep, { now }) }),
  forgets: "it lives and dies with its process",
});

for (const sync of ["normal", "full"] as const) {
  journalSuite(`sqlite: ${sync}`, {
    makePlace() {
      const path = join(folder(), "journal.db");
      return { open: (now) => openAt(path, { sync, now }) };
    },
  });
}
