import { constants, type Database } from "bun:sqlite";
import type { Events } from "../observe/events.ts";
import { reasonOf } from "./cannot-open.ts";
import { identityOf, logOf, stateOf } from "./sqlite-file.ts";
import type { Owned } from "./sqlite-lock.ts";

/** Whether what is written is kept: the disk takes it, and the file is still the one that a restart will find. */
export interface Health {
  /**
   * One transaction; undefined if it failed, and nothing of it happened.
   *
   * @param hasWritten whether its success shows that the disk takes something.
   */
  attempt<T>(write: () => T, hasWritten?: () => boolean): T | undefined;
  /** Finds out by itself that all is well again: the balancer sends nothing to a node that is not ready. */
  probe(write: () => void): void;
  /** Looks whether the file is still there, and still ours. */
  look(): void;
  /** Leaves the file as it is: to close it would change what another process has there by now. */
  abandon(): void;
  /** Why nothing is accepted. */
  readonly reason: string | undefined;
  /** Not a matter of the disk: the file is gone, or another's. */
  readonly isLost: boolean;
}

/** A database that is not kept is collected, which closes it. */
const abandoned = new Set<Database>();

export function createHealth(
  { db, owner }: Owned,
  path: string,
  { events, healed }: { events: Pick<Events["journal"], "failed" | "recovered">; healed: () => void },
): Health {
  const log = logOf(path);
  const file = identityOf(path);
  let logFile = identityOf(log);
  /** What is wrong with the file. */
  let lost: string | undefined;
  /** What is wrong with the disk. */
  let failure: string | undefined;
  let told: string | undefined;
  /** The file as we left it: only our own transactions change it. */
  let left = stateOf(path);

  function attempt<T>(write: () => T, hasWritten = () => true): T | undefined {
    if (lost !== undefined) return undefined;
    if (stateOf(path) !== left) {
      look();
      if (lost !== undefined) return undefined;
    }
    try {
      const result = db.transaction(write).immediate();
      if (hasWritten()) failure = undefined;
      return result;
    } catch (error) {
      failure = reasonOf(error);
      return undefined;
    } finally {
      left = stateOf(path);
      tell();
    }
  }

  function look(): void {
    lost = whyLost();
    if (lost === undefined && identityOf(log) !== logFile) renewLog();
    tell();
  }

  function whyLost(): string | undefined {
    const found = identityOf(path);
    if (found === undefined) {
      return "the file was deleted or moved: put it back, or restart to begin an empty journal without what is held";
    }
    if (found !== file)
      return "another file is in its place: put the first one back, or restart to go on with that one";
    if (stateOf(path) !== left) return "another process has written into the file: restart, with a copy that is whole";
    if (!owner.isOurs()) return "another process has the file as well: stop one of the two";
    return undefined;
  }

  /** The log was deleted: all that it had is still to be had, until the death of this process. */
  function renewLog(): void {
    try {
      // First, and apart: a change of the mode that fails halfway leaves pages of the log in the file, and others nowhere.
      db.run("PRAGMA wal_checkpoint(TRUNCATE)");
      db.run("PRAGMA journal_mode = DELETE");
      db.run("PRAGMA journal_mode = WAL");
      db.run("UPDATE state SET one = 1");
      logFile = identityOf(log);
    } catch (error) {
      failure = reasonOf(error);
    } finally {
      left = stateOf(path);
    }
  }

  function probe(write: () => void): void {
    const before = told;
    look();
    if (lost !== undefined || before === undefined) return;
    if (failure !== undefined) attempt(write);
    if (failure === undefined) healed();
  }

  function tell(): void {
    const reason = lost ?? failure;
    if (reason === told) return;
    told = reason;
    if (reason === undefined) events.recovered();
    else events.failed(reason);
  }

  return {
    attempt,
    probe,
    look,
    abandon() {
      owner.remove();
      db.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1);
      abandoned.add(db);
    },
    get reason() {
      return told;
    },
    get isLost() {
      return lost !== undefined;
    },
  };
}
