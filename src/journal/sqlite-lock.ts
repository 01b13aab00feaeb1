import { Database } from "bun:sqlite";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import { CannotOpen, codeOf, currentUser, reasonOf } from "./cannot-open.ts";
import { ownerOf, prepareFile, stampFile, wasTouchedSince, writeOwner, type OwnerFile } from "./sqlite-file.ts";
import { migrate } from "./sqlite-schema.ts";

const retry_ms = 50;
/** How long a successor that waits takes to have the journal: it was seen at 53–171 ms. */
const takeover_ms = 250;
const look_ms = 10;

export interface LockNeeds {
  readonly events: Pick<Events["journal"], "waiting">;
  readonly now: () => number;
  /** Ends the wait for a predecessor. */
  readonly stop?: AbortSignal | undefined;
}

export type LockSettings = Pick<Settings, "journal_sync" | "takeover_seconds">;

export interface Owned {
  readonly db: Database;
  readonly owner: OwnerFile;
}

/**
 * Opens the file for this process alone: the lock lasts until the database is closed, or the process is dead (`kill -9`
 * included). Waits up to `takeover_seconds` for a predecessor that still has it. Throws `CannotOpen`, or the reason of `stop`.
 */
export async function openExclusively(
  path: string,
  { journal_sync, takeover_seconds }: LockSettings,
  { events, now, stop }: LockNeeds,
): Promise<Owned> {
  const deadline_ms = now() + takeover_seconds * 1000;
  for (let waiting = false; ; waiting = true) {
    const owned = tryOpen(path, journal_sync);
    if (owned !== undefined) return owned;
    stop?.throwIfAborted();
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
function tryOpen(path: string, sync: Settings["journal_sync"]): Owned | undefined {
  let db: Database | undefined;
  let owner: OwnerFile | undefined;
  try {
    prepareFile(path);
    db = new Database(path, { strict: true });
    // The lock is kept after the transaction that takes it. Without shared memory, WAL needs it anyway.
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("BEGIN EXCLUSIVE");
    // First of all: what follows can take its time, and a successor asks who has the lock.
    owner = writeOwner(path);
    // Before anything is written: a damaged file is left as it is, to the last byte.
    if (!wasClosed(db, path)) requireSound(db, path);
    // Before WAL: a crash in between leaves an empty file or a complete schema, and nothing else.
    migrate(db, path);
    db.run("COMMIT");
    db.run("PRAGMA journal_mode = WAL");
    db.run(`PRAGMA synchronous = ${sync === "full" ? "FULL" : "NORMAL"}`);
    db.run(`PRAGMA journal_size_limit = ${log_bytes}`);
    return { db, owner };
  } catch (error) {
    owner?.remove();
    db?.close();
    if (error instanceof CannotOpen) throw error;
    if (codeOf(error) === "SQLITE_BUSY") return undefined;
    throw cannotOpen(path, error);
  }
}

/** The log is cut down to this after it was longer. */
const log_bytes = 16 * 1024 * 1024;

/** From now on the file is as after a crash, until `release`. In the transaction that first changes it. */
export function unmark(db: Database): void {
  db.run("UPDATE closing SET stamp_seconds = NULL");
}

/** The file is as its last owner has closed it: nobody has written, copied or restored it since. */
function wasClosed(db: Database, path: string): boolean {
  try {
    const found = db.query<{ stamp_seconds: number | null }, []>("SELECT stamp_seconds FROM closing").get();
    const stamp_seconds = found?.stamp_seconds ?? undefined;
    return stamp_seconds !== undefined && !wasTouchedSince(path, stamp_seconds);
  } catch {
    // Of an older version, new, or damaged: the check tells.
    return false;
  }
}

/** Reads the whole file: seconds, if it is large. */
function requireSound(db: Database, path: string): void {
  const check = db.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get()?.quick_check;
  if (check === "ok") return;
  throw new CannotOpen(`${path} is damaged: it was left as it is. Restore a copy, or choose another path`);
}

/**
 * Gives the file free. Where all is written, it gets a mark that it is whole, before the successor has the lock.
 *
 * @param stamp_seconds undefined: something could not be written.
 */
export function release({ db, owner }: Owned, path: string, stamp_seconds: number | undefined): void {
  owner.remove();
  if (stamp_seconds !== undefined) mark(db, path, stamp_seconds);
  // Throws if something still holds it: then the successor would wait in vain.
  db.close(true);
}

/** After `release`: whether a successor has taken the file over, or does within a moment, because it was waiting. */
export async function isTakenOver({ owner }: Owned): Promise<boolean> {
  for (let waited_ms = 0; owner.isOurs(); waited_ms += look_ms) {
    if (waited_ms >= takeover_ms) return false;
    await Bun.sleep(look_ms);
  }
  return true;
}

function mark(db: Database, path: string, stamp_seconds: number): void {
  try {
    db.run("UPDATE closing SET stamp_seconds = ?", [stamp_seconds]);
    // Everything is in the file, so that its close does not change it any more.
    db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    stampFile(path, stamp_seconds);
  } catch {
    // Without the mark the next start reads the file as after a crash.
  }
}

export function cannotOpen(path: string, error: unknown, otherwise?: string): CannotOpen {
  const reason = reasonOf(error, otherwise);
  const remedy = reason === "the disk is full" ? ". Free some space on it, or choose another path for `journal`" : "";
  return new CannotOpen(`${path} cannot be opened by ${currentUser()}: ${reason}${remedy}`, { cause: error });
}
