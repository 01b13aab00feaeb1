import { accessSync, closeSync, constants, lstatSync, openSync, readlinkSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { safe } from "../settings/messages.ts";
import type { Settings } from "../settings/schema.ts";
import { CannotOpen, codeOf, currentUser } from "./cannot-open.ts";
import { requireJournal } from "./sqlite-file.ts";

/** Problems of the place where the journal is, or will be. Leaves everything as it is, also the lock of the journal's owner. */
export function problemsOfPlace({ journal }: Pick<Settings, "journal">): string[] {
  if (journal.kind !== "sqlite") return [];
  const problem = problemOf(resolve(journal.path));
  return problem === undefined ? [] : [`journal: ${problem}`];
}

function problemOf(path: string): string | undefined {
  const name = safe(path, 200);
  try {
    const file = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    try {
      requireJournal(file, path);
    } finally {
      closeSync(file);
    }
    // Beside the file itself are its log and the name of its owner, also where the path is a link.
    return problemOfFolder(dirname(realpathSync(path)));
  } catch (error) {
    switch (codeOf(error)) {
      case "ENOENT":
        return problemOfFolder(dirname(targetOf(path)));
      case "ENOTDIR":
        return `${safe(dirname(path), 200)} is not a folder: choose another path`;
      case "EISDIR":
        return `${name} is a folder: name a file in it`;
      case "EROFS":
        return `${name} is on a file system that cannot be written: choose another path`;
      case "EACCES":
        return `${name} cannot be opened for writing by ${currentUser()}: give this user the right, or choose another path`;
      case "ELOOP":
        return `${name} is a link that leads back to itself: choose another path`;
      case undefined:
      default:
        return error instanceof CannotOpen ? error.message : `${name} cannot be opened (${codeOf(error)})`;
    }
  }
}

/** Where a link leads that leads to nothing. A circle of links is not one. */
function targetOf(path: string): string {
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  return isLink ? targetOf(resolve(dirname(path), readlinkSync(path))) : path;
}

function problemOfFolder(folder: string): string | undefined {
  const name = `the folder ${safe(folder, 200)}`;
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    switch (codeOf(error)) {
      case "ENOENT":
        return `${name} does not exist: make it, or choose another path`;
      case "EROFS":
        return `${name} is on a file system that cannot be written: choose another path`;
      case "EACCES":
        return `${name} cannot be written by ${currentUser()}: give this user the right, or choose another path`;
      case undefined:
      default:
        return `${name} cannot be used (${codeOf(error)})`;
    }
  }
}
