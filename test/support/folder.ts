import { afterEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders = new Set<string>();

/** An empty folder. Removed after the test by itself. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "amper-channels-"));
  folders.add(path);
  return path;
}

afterEach(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
  folders.clear();
});
