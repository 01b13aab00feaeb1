import { join } from "node:path";
import { launch, listening, spawn } from "../support/binary.ts";
import { settableClock } from "../support/faketime.ts";
import { folder } from "../support/folder.ts";

/** So quick that a short stop outlasts a heartbeat. */
const heartbeat_ms = 300;

/** The executable on one port and one journal, over all its lives. */
export interface Server {
  readonly port: number;
  /** Kills it with signal 9, and starts it anew when `dead` resolves. */
  kill(dead: () => Promise<void>): Promise<void>;
  /** Starts a successor, which waits for the journal, and tells the predecessor to end. Throws if that did not exit with 0. */
  takeOver(): Promise<void>;
  /** Stops it with SIGSTOP until `stopped` resolves: its port takes connections, and nobody answers. */
  stop(stopped: () => Promise<void>): Promise<void>;
  /** Sets its wall clock, for all its lives. Undefined: libfaketime is not installed. */
  readonly setClock: ((ahead_seconds: number) => void) | undefined;
}

export async function startServer(settings: Record<string, string> = {}): Promise<Server> {
  const home = folder();
  const clock = settableClock(home);
  const canSetClock = clock.env["LD_PRELOAD"] !== "";
  const env = {
    ...(canSetClock && clock.env),
    AMPER_JOURNAL: `sqlite:${join(home, "journal.db")}`,
    AMPER_PING_INTERVAL_MS: `${heartbeat_ms}`,
    AMPER_PING_TIMEOUT_MS: `${heartbeat_ms}`,
    AMPER_DRAIN_SECONDS: "1",
    ...settings,
  };
  let run = await launch({ env });
  const { port } = new URL(run.url);
  const again = { env: { ...env, AMPER_PORT: port } };
  return {
    port: Number(port),
    async kill(dead) {
      run.kill("SIGKILL");
      await run.exited;
      await dead();
      run = await launch(again);
    },
    async takeOver() {
      const successor = await spawn(again);
      await successor.said(/waiting for the journal/);
      run.kill("SIGTERM");
      const [next, code] = await Promise.all([listening(successor), run.exited]);
      if (code !== 0) throw new Error(`the predecessor exited with ${code}`);
      run = next;
    },
    async stop(stopped) {
      run.kill("SIGSTOP");
      await stopped();
      run.kill("SIGCONT");
    },
    setClock: canSetClock ? clock.set : undefined,
  };
}
