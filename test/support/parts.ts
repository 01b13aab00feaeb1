import { describe, test } from "bun:test";

/** Something real that some tests need, and that not every machine has. */
export interface Part {
  /** Undefined: it is there. Otherwise what is missing, and how to get it. */
  readonly missing: string | undefined;
}

/** A group of tests that need a part. Skipped, with the reason, where it is missing, but not in CI. */
export function describeWith({ missing }: Part, name: string, tests: () => void): void {
  if (missing !== undefined && process.env["CI"] === "true") {
    test(`${name}: everything is there to test with`, () => {
      throw new Error(missing);
    });
    return;
  }
  if (missing !== undefined) process.stderr.write(`skipped, ${name}: ${missing}\n`);
  describe.skipIf(missing !== undefined)(name, tests);
}

/** Where a program is: Debian keeps those of operators in a folder that not every PATH has. */
export function findProgram(name: string): string | undefined {
  return Bun.which(name, { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` }) ?? undefined;
}
