import { chmodSync, closeSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface Run {
  readonly home: string;
  /** Removes it, and ends what still works in it. */
  remove(): Promise<void>;
}

let run: Run | undefined;
let made = 0;

/** An empty folder that everybody may read. It is removed at the end of this process, also where that is interrupted. */
export function folder(): string {
  run ??= begin();
  const path = join(run.home, `${++made}`);
  mkdirSync(path);
  chmodSync(path, 0o755);
  return path;
}

/** Removes all folders, and ends the processes that still work in them. */
export async function removeFolders(): Promise<void> {
  const over = run;
  run = undefined;
  await over?.remove();
}

function begin(): Run {
  const home = mkdtempSync(join(tmpdir(), `amper-channels-run-${process.pid}-`));
  chmodSync(home, 0o755);
  // A session of its own, where no Ctrl+C reaches it.
  const janitor = Bun.spawn(["sh", join(import.meta.dir, "janitor.sh"), home], {
    stdio: ["ignore", "pipe", "inherit", "pipe"],
    detached: true,
  });
  async function remove(): Promise<void> {
    const pipe = janitor.stdio[3];
    if (typeof pipe !== "number") throw new Error("the janitor has no pipe");
    closeSync(pipe);
    await janitor.stdout.text();
  }
  return { home, remove };
}
