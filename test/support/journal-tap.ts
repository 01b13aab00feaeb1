import { spyOn } from "bun:test";
import type { Journal } from "../../src/journal/journal.ts";
import * as memory from "../../src/journal/memory.ts";
import * as sqlite from "../../src/journal/sqlite.ts";
import type { Service } from "../../src/service.ts";
import { start } from "./service.ts";

export interface Tapped {
  readonly service: Service;
  /** The service's own journal. What a test appends to it comes to the service like an entry of another node. */
  readonly journal: Journal;
}

/**
 * Starts the real service, and hands out its journal.
 *
 * @param change wraps the journal before the service gets it.
 */
export async function startTapped(
  env: Readonly<Record<string, string>> = {},
  {
    change = (journal) => journal,
    ...options
  }: Parameters<typeof start>[1] & { change?: (journal: Journal) => Journal } = {},
): Promise<Tapped> {
  let tapped: Journal | undefined;
  const { createMemoryJournal } = memory;
  const { openSqliteJournal } = sqlite;
  const spies = [
    spyOn(memory, "createMemoryJournal").mockImplementation(
      (...needs) => (tapped = change(createMemoryJournal(...needs))),
    ),
    spyOn(sqlite, "openSqliteJournal").mockImplementation(
      async (...needs) => (tapped = change(await openSqliteJournal(...needs))),
    ),
  ];
  try {
    const service = await start(env, options);
    if (tapped === undefined) throw new Error("the service has opened no journal");
    return { service, journal: tapped };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
