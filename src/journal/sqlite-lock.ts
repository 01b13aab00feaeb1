import { Database } from "bun:sqlite";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import { CannotOpen, reasonOf } from "./cannot-open.ts";
import { migrate, prepareFile } from "./sqlite-schema.ts";

const retry_ms = 50;

export interface LockNeeds {
  readonly events: Pick<Events["journal"], "waiting">;
  readonly now: () => number;
}

export type LockSettings = Pick<Settings, "journal_sync" | "takeover_seconds">;

/**
 * Opens the file for this process alone: the lock lasts until the database is closed, or the process is dead (`kill -9`
 * included). Waits up to `takeover_seconds` for a predecessor that still has it. Throws `CannotOpen`.
 */
export async function openExclusively(
  path: string,
  { journal_sync, takeover_seconds }: LockSettings,
  { events, now }: LockNeeds,
): Promise<{ db: Database; release: () => void }> {
  const deadline_ms = now() + takeover_seconds * 1000;
  for (let waiting = false; ; waiting = true) {
    const db = tryOpen(path, journal_sync);
    if (db !== undefined) {
      return {
        db,
        release() {
          rmSync(ownerPath(path), { force: true });
          // Throws if something still holds it: then the successor would wait in vain.
          db.close(true);
        },
      };
    }
    if (!waiting) events.waiting(ownerOf(path));
    if (now() >= deadline_ms) {
      throw new CannotOpen(
        `${path} is in use by ${ownerOf(path)}: it was not given free in ${takeover_seconds} s (takeover_seconds)`,
      );
    }
    await Bun.sleep(retry_ms);
  }
}

/** Undefined: another process has it. `full`: a commit survives the loss of power; `normal`: the death of the process. */
function tryOpen(path: string, sync: Settings["journal_sync"]): Database | undefined {
  let db: Database | undefined;
  try {
    prepareFile(path);
    db = new Database(path, { strict: true });
    // The lock is kept after the transaction that takes it. Without shared memory, WAL needs it anyway.
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("BEGIN EXCLUSIVE");
    // Before anything is written: a damaged file is left as it is, to the last byte.
    const check = db.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get()?.quick_check;
    if (check !== "ok")
      throw new CannotOpen(`${path} is damaged: it was left as it is. Restore a copy, or choose another path`);
    // Before WAL: a crash in between leaves an empty file or a complete schema, and nothing else.
    migrate(db, path);
    db.run("COMMIT");
    db.run("PRAGMA journal_mode = WAL");
    db.run(`PRAGMA synchronous = ${sync === "full" ? "FULL" : "NORMAL"}`);
    writeFileSync(ownerPath(path), `process ${process.pid} on ${hostname()}`, { mode: 0o600 });
    return db;
  } catch (error) {
    db?.close();
    if (error instanceof CannotOpen) throw error;
    if (error instanceof Error && "code" in error && error.code === "SQLITE_BUSY") return undefined;
    throw new CannotOpen(`${path} cannot be opened: ${reasonOf(error)}`, { cause: error });
  }
}

/** The name of the owner is not in the database, which nobody else can read, but beside it; only for people to read. */
function ownerPath(path: string): string {
  return `${path}.owner`;
}

function ownerOf(path: string): string {
  try {
    return readFileSync(ownerPath(path), "utf8").slice(0, 200);
  } catch {
    return "another process";
  }
}
