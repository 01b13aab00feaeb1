import { expect } from "bun:test";
import { closeSync, openSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { folder } from "./folder.ts";

const mounts = new Set<string>();

/** A disk of a megabyte. Gone after the test by itself. Undefined: this machine lets nobody have one. */
export function disk(): string | undefined {
  const path = folder();
  const mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", path];
  if (Bun.spawnSync(mount, { stderr: "ignore" }).exitCode !== 0) return undefined;
  mounts.add(path);
  return path;
}

export function emptyDisk(): string {
  const path = disk();
  if (path === undefined) throw new Error("no disk");
  return path;
}

/** Leaves no room on a disk, or so much. */
export function fill(path: string, leave_bytes = 0): void {
  const filler = join(path, "filler");
  const file = openSync(filler, "w");
  const chunk = Buffer.alloc(4096);
  try {
    for (;;) writeSync(file, chunk);
  } catch (error) {
    expect(String(error)).toContain("ENOSPC");
  } finally {
    closeSync(file);
  }
  truncateSync(filler, statSync(filler).size - leave_bytes);
}

export function free(path: string): void {
  rmSync(join(path, "filler"));
}

/** Lazily: whatever still has a file open there loses it when it closes it. */
export function unmount(): void {
  for (const path of mounts) Bun.spawnSync(["umount", "-l", path]);
  mounts.clear();
}

let isPossible: boolean | undefined;

/** Says so where it is not. */
export function canMount(): boolean {
  if (isPossible !== undefined) return isPossible;
  isPossible = process.getuid?.() === 0 && disk() !== undefined;
  unmount();
  if (!isPossible) process.stderr.write("skipped, the full disk: this machine lets nobody mount a small one\n");
  return isPossible;
}
