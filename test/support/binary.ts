import { chmodSync } from "node:fs";
import { join } from "node:path";
import { killAfterTest } from "./children.ts";
import { folder } from "./folder.ts";
import { apiKey, wsToken } from "./service.ts";

const root = join(import.meta.dir, "../..");
const home = folder();

/**
 * Built while the first file that imports this is loaded, when no test's clock runs. A failure is not kept: each test that needs
 * the executable builds anew, and fails by itself.
 */
let built: string | undefined = await build().catch(() => undefined);

/** The executable as a release has it, built for this test run: `dist/` may be of another day. */
export async function binary(): Promise<string> {
  built ??= await build();
  return built;
}

/** Does what `bun run build` does, by the Bun that runs this: another, or none, may be on the PATH. */
async function build(): Promise<string> {
  const path = join(home, "amper-channels");
  const child = Bun.spawn([process.execPath, join(root, ".ci/build/main.ts"), "--outfile", path], {
    stdout: "ignore",
    stderr: "pipe",
  });
  const [exitCode, stderr] = await Promise.all([child.exited, child.stderr.text()]);
  if (exitCode !== 0) throw new Error(stderr);
  chmodSync(path, 0o755);
  return path;
}

/** A started executable. */
export interface Started {
  /** Of the wrapper, where there is one: it may have become the executable, or its parent. */
  readonly pid: number;
  readonly lines: string[];
  /** Resolves with the first line that matches, past or to come. Rejects if it exits without. */
  said(pattern: RegExp): Promise<string>;
  /** Resolves with the next line to come. */
  next(): Promise<string>;
  kill(signal: "SIGTERM" | "SIGINT" | "SIGKILL" | "SIGHUP" | "SIGSTOP" | "SIGCONT"): void;
  readonly exited: Promise<number>;
}

/** One that listens. */
export interface Run extends Started {
  readonly url: string;
}

export interface LaunchOptions {
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** What it is run by, `unshare` for example. */
  readonly wrapper?: readonly string[];
}

export const env = {
  AMPER_HOST: "127.0.0.1",
  AMPER_PORT: "0",
  AMPER_API_KEYS: `backend=${apiKey}`,
  AMPER_WS_TOKENS: `front=${wsToken}`,
  AMPER_JOURNAL: "memory:",
  AMPER_DRAIN_SECONDS: "0",
} as const;

/** Runs the executable to its end, with no more than the environment that is given. */
export async function run(
  args: readonly string[],
  { env: environment = {}, cwd = home, wrapper = [] }: Omit<LaunchOptions, "args"> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([...wrapper, await binary(), ...args], {
    env: environment,
    cwd,
    stdout: "pipe",
    stderr: "pipe",
  });
  killAfterTest(child);
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, stdout, stderr };
}

/** Starts the executable. Killed after the test by itself. */
export async function spawn(options: LaunchOptions = {}): Promise<Started> {
  const command = [...(options.wrapper ?? []), await binary(), ...(options.args ?? [])];
  const child = Bun.spawn(command, {
    env: { ...env, ...options.env },
    cwd: options.cwd ?? home,
    stdout: "pipe",
    stderr: "inherit",
  });
  killAfterTest(child);
  const lines: string[] = [];
  const listeners = new Set<(line: string) => void>();
  const ended = follow(child.stdout, (line) => {
    lines.push(line);
    for (const listener of listeners) listener(line);
  });
  function said(pattern: RegExp): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const listener = (line: string): void => void (pattern.test(line) && resolve(line));
    listeners.add(listener);
    for (const line of lines) listener(line);
    void ended.then(() => reject(new Error(`it ended without saying ${pattern}`)));
    return promise;
  }
  function next(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const listener = (line: string): void => {
      listeners.delete(listener);
      resolve(line);
    };
    listeners.add(listener);
    void ended.then(() => reject(new Error("it ended without saying more")));
    return promise;
  }
  return { pid: child.pid, lines, said, next, kill: (signal) => child.kill(signal), exited: child.exited };
}

/** Starts the executable, and waits until it listens. Killed after the test by itself. */
export async function launch(options: LaunchOptions = {}): Promise<Run> {
  return listening(await spawn(options));
}

export async function listening(started: Started): Promise<Run> {
  const line = await started.said(/"url":"/);
  return { ...started, url: /"url":"([^"]+)"/.exec(line)?.[1] ?? "" };
}

async function follow(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void): Promise<void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    for (const line of parts) onLine(line);
  }
}
