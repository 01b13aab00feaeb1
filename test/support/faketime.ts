import { globSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeWith } from "./parts.ts";

/** Debian's package `libfaketime`: it puts itself between a program and the clocks of the machine. */
const [library] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");

/** A group of tests that set the clock of an executable. */
export function describeFaketime(name: string, tests: () => void): void {
  const missing =
    library === undefined ? "the package libfaketime is not installed (apt-get install libfaketime)" : undefined;
  describeWith({ missing }, name, tests);
}

/**
 * The environment of a program whose wall clock can be set while it runs. Its monotonic clock stays as it is: nobody can set
 * that, and timers hang on it.
 */
export function settableClock(folder: string): { env: Record<string, string>; set: (ahead_seconds: number) => void } {
  const file = join(folder, "clock");
  function set(ahead_seconds: number): void {
    // Renamed, so that none is read half.
    writeFileSync(`${file}.new`, `${ahead_seconds < 0 ? "" : "+"}${ahead_seconds}`);
    renameSync(`${file}.new`, file);
  }
  set(0);
  const env = {
    LD_PRELOAD: library ?? "",
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  return { env, set };
}
