import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  readSync,
  realpathSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { CannotOpen, codeOf, currentUser } from "./cannot-open.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** "AMPR": tells our files from all others, https://sqlite.org/pragma.html#pragma_application_id */
export const applicationId = 0x414d5052;

/** What SQLite keeps beside the file, and finds again after the death of its process. */
const besides = ["-wal", "-shm", "-journal"];

/**
 * Makes the file, if there is none, readable for nobody else: it holds notifications and the token secret. Takes that right
 * from everybody else where they have it. Refuses a file that is not ours by its first bytes alone
 * (https://sqlite.org/fileformat.html#the_database_header): to open it would already change it.
 */
export function prepareFile(path: string): void {
  const file = openSync(path, "a+", 0o600);
  try {
    requireJournal(file, path);
    tighten(file, path);
  } finally {
    closeSync(file);
  }
  for (const beside of besides) tightenBeside(realpathSync(path) + beside);
}

/** Throws `CannotOpen` for a file with anything else in it. */
export function requireJournal(file: number, path: string): void {
  const header = Buffer.alloc(100);
  const length = readSync(file, header, 0, header.length, 0);
  const isDatabase = length === header.length && header.toString("latin1", 0, 16) === "SQLite format 3\0";
  if (length === 0 || (isDatabase && header.readUInt32BE(68) === applicationId)) return;
  throw new CannotOpen(
    `${path} is not a journal of this service: it was left as it is. Choose another path for \`journal\``,
  );
}

function tightenBeside(path: string): void {
  let file: number;
  try {
    file = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    throw error;
  }
  try {
    tighten(file, path);
  } finally {
    closeSync(file);
  }
}

function tighten(file: number, path: string): void {
  const mode = fstatSync(file).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  try {
    fchmodSync(file, mode & 0o700);
  } catch {
    throw new CannotOpen(
      `${path} can be read or written by other users (mode ${mode.toString(8)}), and ${currentUser()} cannot change that: chmod 600 it. It holds the secret of the websocket tokens`,
    );
  }
}

/** The name of the owner is not in the database, which nobody else can read, but beside it, for people to read. */
export interface OwnerFile {
  /** False: another process has written its name there since. A name that is left of an earlier life does not count. */
  isOurs(): boolean;
  remove(): void;
}

const ownerPath = (path: string) => `${path}.owner`;

/** Not through a link that somebody has put there. A disk that is full for it is no reason not to start. */
export function writeOwner(path: string): OwnerFile {
  const text = `process ${process.pid} on ${hostname()}\n${crypto.randomUUID()}\n`;
  try {
    rmSync(ownerPath(path), { force: true });
    const file = openSync(ownerPath(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      writeSync(file, text);
    } finally {
      closeSync(file);
    }
  } catch {
    // The name is missing, or that of an earlier owner: a successor is told of "another process", or of that one.
  }
  const left = readOwner(path);
  const isOurs = () => {
    const now = readOwner(path);
    return now === undefined || now === left;
  };
  return {
    isOurs,
    remove() {
      try {
        if (isOurs()) rmSync(ownerPath(path), { force: true });
      } catch {
        // It cannot be removed: to a successor it is a name of an earlier life.
      }
    },
  };
}

export function ownerOf(path: string): string {
  return readOwner(path)?.split("\n")[0] ?? "another process";
}

function readOwner(path: string): string | undefined {
  try {
    const file = openSync(ownerPath(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const bytes = Buffer.alloc(200);
      const length = readSync(file, bytes);
      return length === 0 ? undefined : bytes.toString("utf8", 0, length);
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}

/** Where SQLite keeps the log: beside the file itself, where the path is a link. */
export function logOf(path: string): string {
  return `${realpathSync(path)}-wal`;
}

/** Which file a path leads to. */
export function identityOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? undefined : `${found.dev} ${found.ino}`;
}

/** Sets the time of the last change to a whole second, which nobody else would: `wasTouchedSince` finds every later change. */
export function stampFile(path: string, stamp_seconds: number): void {
  utimesSync(path, stamp_seconds, stamp_seconds);
}

export function wasTouchedSince(path: string, stamp_seconds: number): boolean {
  const { mtimeNs } = statSync(path, { bigint: true });
  return mtimeNs !== BigInt(stamp_seconds) * 1_000_000_000n;
}

export function fileSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Changes with each write, by whomever. */
export function stateOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? undefined : `${found.dev} ${found.ino} ${found.size} ${found.mtimeNs}`;
}
