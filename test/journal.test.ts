import { join } from "node:path";
import { createMemoryJournal } from "../src/journal/memory.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import { folder } from "./support/folder.ts";
import { journalSuite, keep } from "./support/journal-suite.ts";

journalSuite("memory:", {
  makePlace: () => ({ open: async (now) => createMemoryJournal({ now }) }),
  forgets: "it lives and dies with its process",
});

for (const sync of ["normal", "full"] as const) {
  journalSuite(`sqlite: ${sync}`, {
    makePlace() {
      const path = join(folder(), "journal.db");
      const common = { ...keep, sync, takeover_seconds: 0, onWaiting() {}, onHealth() {}, onCommit() {} };
      return { open: (now) => openSqliteJournal({ path, now, ...common }) };
    },
  });
}
