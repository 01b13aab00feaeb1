import type { Journal } from "../../src/journal/journal.ts";
import { openSqliteJournal, type SqliteNeeds } from "../../src/journal/sqlite.ts";
import { keep, quiet } from "./journal-suite.ts";

export interface OpenOptions {
  readonly sync?: "normal" | "full";
  readonly takeover_seconds?: number;
  readonly idempotency_hours?: number;
  readonly max_idempotency_bytes?: number;
  readonly window_ms?: number;
  readonly revocations_ms?: number;
  readonly now?: () => number;
  readonly events?: Partial<SqliteNeeds["events"]>;
}

/** Opens a journal as the service does. The test closes it. */
export function openAt(path: string, options: OpenOptions = {}): Promise<Journal> {
  const { sync = "normal", takeover_seconds = 0, now = Date.now, ...kept } = { ...keep, ...options };
  const { window_ms, revocations_ms, idempotency_hours, max_idempotency_bytes } = kept;
  const settings = {
    journal_sync: sync,
    takeover_seconds,
    journal_window_seconds: window_ms / 1000,
    idempotency_hours,
    max_idempotency_bytes,
  };
  return openSqliteJournal(path, settings, { revocations_ms, now, events: { ...quiet, ...options.events } });
}
