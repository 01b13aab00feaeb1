import type { Journal } from "../journal/journal.ts";
import { createMemoryJournal } from "../journal/memory.ts";
import { openSqliteJournal } from "../journal/sqlite.ts";
import { createWindow, type Window } from "../journal/window.ts";
import { createHeld, type Held } from "../notify/held.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";

/** The journal, and what this node keeps of it in memory. */
export interface Store {
  readonly journal: Journal;
  readonly window: Window;
  readonly held: Held;
  /** Drops what nobody can ask for any more. */
  tidy(): void;
}

/** Opens the journal and reads what an earlier life left there. Throws if it cannot be had. */
export async function openStore(
  settings: Settings,
  { events, now, revocations_ms }: { events: Events; now: () => number; revocations_ms: number },
): Promise<Store> {
  const journal = await openJournal();
  const { history } = journal;
  const window = createWindow({
    seconds: settings.journal_window_seconds,
    bytes: settings.journal_window_bytes,
    now,
    epochs: history.epochs,
    trimmedTo: history.trimmedTo,
  });
  const held = createHeld({
    limits: {
      perUser: settings.max_held_per_user,
      // What is held, and what was missed, go out in one burst, and have to fit into the backlog together.
      bytesPerUser: settings.backlog_bytes / 4,
      total: settings.max_held,
      totalBytes: settings.max_held_bytes,
    },
    now,
    release(user, sequences, why) {
      journal.release(user, sequences);
      events.released(why, sequences.length);
    },
  });
  for (const entry of history.entries) window.add(entry);
  for (const { entry, users } of history.held) held.add(entry, users);

  function openJournal(): Promise<Journal> {
    if (settings.journal.kind === "memory") return Promise.resolve(createMemoryJournal({ now }));
    return openSqliteJournal({
      path: settings.journal.path,
      sync: settings.journal_sync,
      takeover_seconds: settings.takeover_seconds,
      window_ms: settings.journal_window_seconds * 1000,
      revocations_ms,
      now,
      ...events.journal,
    });
  }

  return {
    journal,
    window,
    held,
    tidy() {
      window.trim();
      held.expire();
      journal.trim(window.trimmedTo);
    },
  };
}
