import { killAfterTest } from "./children.ts";
import type { Part } from "./parts.ts";

const path = Bun.which("node");

export const node: Part = {
  missing: path === null ? "there is no Node on the PATH: apt-get install nodejs" : undefined,
};

/** Runs a module in a Node of its own, whose HTTP clients are not Bun's, and returns what it prints. */
export async function runNode(source: string, ...args: readonly string[]): Promise<string> {
  const child = Bun.spawn([path ?? "node", "--input-type=module", "--eval", source, ...args], {
    stdout: "pipe",
    stderr: "pipe",
  });
  killAfterTest(child);
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  if (code !== 0) throw new Error(stderr);
  return stdout;
}
