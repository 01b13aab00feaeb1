import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { folder } from "./folder.ts";
import { until } from "./raw.ts";

/** A real proxy in front of the service, on a free port of loopback. Stopped after the test by itself. */
export interface Front<Config> {
  readonly url: string;
  /** Takes on another configuration, as its operator does it, and resolves when new connections meet that. */
  reload(config: Config): Promise<void>;
  stop(): Promise<void>;
}

export interface Place {
  /** The folder of all its files. */
  readonly home: string;
  readonly port: number;
}

/** How a proxy is run. It writes its process id into `home/pid` once it listens, and its log to standard error. */
export interface Program<Config> {
  readonly name: string;
  /** Its configuration is `home/config`. */
  command(home: string): readonly string[];
  configure(config: Config, place: Place): string;
  readonly reload: "SIGHUP" | "SIGUSR1" | "SIGUSR2";
  /** What its log says once it works by its first configuration. */
  readonly started: RegExp;
  /** What its log says each time that the processes of the configuration before have ceased to accept connections. */
  readonly reloaded: RegExp;
}

/** Somebody else may take the port between its choice and the start. */
const mostAttempts = 5;

const running = new Set<{ stop(): Promise<void> }>();

export async function startFront<Config>(program: Program<Config>, config: Config): Promise<Front<Config>> {
  for (let attempt = 1; ; attempt++) {
    const { front, isReady, log } = run(program, config);
    if (await isReady) return front;
    await front.stop();
    const isTaken = /address already in use|cannot bind socket/i.test(log());
    if (!isTaken || attempt === mostAttempts) throw new Error(`${program.name} does not start:\n${log()}`);
  }
}

export async function stopFronts(): Promise<void> {
  await Promise.all([...running].map((front) => front.stop()));
}

/** `isReady` is false where it has ended instead. */
function run<Config>(program: Program<Config>, config: Config) {
  const place = { home: folder(), port: freePort() };
  const { home, port } = place;
  const logFile = join(home, "log");
  const log = (): string => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "");
  const write = (given: Config): void => writeFileSync(join(home, "config"), program.configure(given, place));
  write(config);
  const child = Bun.spawn([...program.command(home)], {
    cwd: home,
    stdio: ["ignore", "ignore", Bun.file(logFile)],
  });
  const reloads = (): number => log().match(program.reloaded)?.length ?? 0;
  let hasEnded = false;
  void child.exited.then(() => (hasEnded = true));

  /** Resolves with false if it has ended instead. */
  async function becomes(what: string, isSo: () => boolean | Promise<boolean>): Promise<boolean> {
    await until(`${program.name} ${what}`, async () => hasEnded || (await isSo()));
    return !hasEnded;
  }

  const front: Front<Config> = {
    url: `http://127.0.0.1:${port}`,
    async reload(given) {
      const before = reloads();
      write(given);
      child.kill(program.reload);
      if (!(await becomes("has reloaded", () => reloads() > before))) throw new Error(log());
    },
    async stop() {
      running.delete(front);
      // Not by SIGKILL, which its workers would outlive.
      child.kill("SIGTERM");
      await child.exited;
    },
  };
  running.add(front);
  const isStarted = async () => existsSync(join(home, "pid")) && program.started.test(log()) && (await answers(port));
  return { front, isReady: becomes("has started", isStarted), log };
}

/**
 * A port of loopback that nobody listens on. Not one of those that the system hands out (from 32768 on), which may be gone the
 * next moment.
 */
export function freePort(): number {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
      return port;
    } catch {
      // Somebody does.
    }
  }
}

function answers(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, "127.0.0.1", () => resolve(true));
  socket.on("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}
