import { readFileSync, statSync } from "node:fs";
import { codeOf, currentUser } from "../journal/cannot-open.ts";

/** The content of a file, or why there is none, in words that follow its name. */
export function read(path: string): { readonly text: string } | { readonly failure: string } {
  try {
    return { text: readFileSync(path, "utf8") };
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") return { failure: "does not exist: name another path, or put the file there" };
    if (code === "EACCES")
      return { failure: `cannot be read by ${currentUser()}: give this user the right to read it` };
    if (code === "EISDIR") return { failure: "is a folder: name the file in it" };
    return { failure: `cannot be read (${code})` };
  }
}

/** What every user of the machine may do with a file; undefined: nothing, or nobody can tell. */
export function openToAll(path: string): { readonly mode: string; readonly isWritable: boolean } | undefined {
  const mode = modeOf(path) & 0o777;
  return (mode & 0o006) === 0 ? undefined : { mode: mode.toString(8), isWritable: (mode & 0o002) !== 0 };
}

function modeOf(path: string): number {
  try {
    return statSync(path).mode;
  } catch {
    return 0;
  }
}
