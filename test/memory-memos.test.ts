import { expect, test } from "bun:test";
import { createMemoryJournal } from "../src/journal/memory.ts";
import { notification, record } from "./support/journal-suite.ts";

test("a journal in memory forgets the oldest memos when they are too many", async () => {
  const journal = createMemoryJournal({ now: () => 0 });
  record(journal);
  const memo = (n: number) => ({ scope: "backend", key: `key-${n}`, fingerprint: "f" });
  for (let n = 0; n <= 100_000; n++) await journal.append(notification(0), memo(n));
  journal.trim(0);
  expect(journal.recall(memo(0))).toBeUndefined();
  expect(journal.recall(memo(1))).toBeDefined();
  expect(journal.recall(memo(100_000))).toBeDefined();
});
