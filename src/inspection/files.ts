import { statSync } from "node:fs";

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
