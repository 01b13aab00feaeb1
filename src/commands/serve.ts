import { once } from "node:events";
import { createLog, type Log } from "../observe/log.ts";
import { startService, type Service } from "../service.ts";
import { loadSettings, missing, systemSources, type Loaded } from "../settings/load.ts";
import { createKnownSecrets } from "../settings/known-secrets.ts";
import { changedBeyondReload, refusedByReload } from "../settings/reload.ts";
import type { Settings } from "../settings/schema.ts";
import { settingsHelp } from "../settings/describe.ts";
import type { OnSignal } from "../signals.ts";
import { readTls } from "../tls/files.ts";
import { version } from "../version.ts";
import { makeTrial, welcome, withTrial } from "./trial.ts";

export const summary = "run the service (the default); --dev for a trial on this machine";

export function help(): string {
  return `Usage: amper-channels [serve] [--dev] [--config PATH] [--SETTING VALUE …]

  --dev    trial mode: listens on 127.0.0.1 (or on --host), makes and prints an API key and a WS token, keeps nothing

${settingsHelp()}`;
}

/**
 * Runs until a signal comes, and listens to signals from its first step. Resolves with the exit code: 0 drained, or told to stop
 * before it had the journal; 1 could not start, was told twice to stop, or lost a revocation; 2 usage.
 */
export async function serve(args: readonly string[], onSignal: OnSignal): Promise<number> {
  const dev = args.includes("--dev");
  const own = args.filter((arg) => arg !== "--dev");
  const trial = dev ? makeTrial() : undefined;
  const load = () => {
    // In front of the user's own flags, of which the last one counts.
    const loaded = loadSettings(systemSources(dev ? ["--host=127.0.0.1", "--journal=memory:", ...own] : own));
    return loaded.ok && trial !== undefined ? { ...loaded, settings: withTrial(loaded.settings, trial) } : loaded;
  };
  const loaded = load();
  if (!loaded.ok) return fail(loaded.problems, loaded.isUsage ? 2 : 1);
  const { settings } = loaded;
  const tls = readTls(settings);
  const lacking = [...missing(settings), ...(tls !== undefined && "unusable" in tls ? tls.unusable : [])];
  if (lacking.length > 0) return fail(lacking);

  const secrets = createKnownSecrets(settings);
  const log = createLog(settings.log_level, Date.now, secrets.has);
  for (const warning of loaded.warnings) log.warn("settings", { warning });
  catchCrashes(log);
  let service: Service | undefined;
  let inForce = settings;
  let isAsked = false;
  const stop = new AbortController();
  function takeOn(running: Service): Settings {
    const given = load();
    if (given.ok) secrets.add(given.settings);
    return reload(running, { started: settings, inForce }, given, log);
  }
  const { promise: again, resolve: stopAtOnce } = Promise.withResolvers<false>();
  onSignal((signal) => {
    if (signal === "SIGHUP") {
      if (service === undefined) isAsked = true;
      else inForce = takeOn(service);
    } else if (stop.signal.aborted) {
      log.info("stopping at once", { signal });
      stopAtOnce(false);
    } else {
      log.info(service === undefined ? "stopping" : "draining", { signal });
      stop.abort();
    }
  });
  try {
    service = await startService(settings, { log, stop: stop.signal });
  } catch (error) {
    if (error !== stop.signal.reason) return fail([explain(error, settings)]);
    return stopped(log, 0);
  }
  if (isAsked) inForce = takeOn(service);
  log.info("listening", { url: service.url, version });
  if (trial !== undefined) process.stdout.write(welcome(service.url, settings.host, trial));
  if (!stop.signal.aborted) await once(stop.signal, "abort");
  const isComplete = await Promise.race([service.stop().catch(() => false), again]);
  return stopped(log, isComplete ? 0 : 1);
}

/**
 * Takes on the file's keys, tokens and channel rules, and the TLS files, and returns what is in force then. With a mistake in
 * the settings, everything stays as it is.
 */
function reload(
  service: Service,
  { started, inForce }: { readonly started: Settings; readonly inForce: Settings },
  loaded: Loaded,
  log: Log,
): Settings {
  const problems = loaded.ok
    ? [...missing(loaded.settings), ...refusedByReload(inForce, loaded.settings)]
    : loaded.problems;
  for (const problem of problems) log.error("settings not reloaded", { problem });
  if (!loaded.ok || problems.length > 0) return inForce;
  for (const warning of loaded.warnings) log.warn("settings", { warning });
  const connections = service.reload(loaded.settings);
  log.info("settings reloaded", { connections });
  const others = changedBeyondReload(started, loaded.settings);
  if (others.length > 0) log.warn("settings that need a restart have changed", { settings: others.join(" ") });
  return loaded.settings;
}

async function stopped(log: Log, code: number): Promise<number> {
  log.info("stopped");
  await log.flush();
  return code;
}

/** A bug in the handling of one request must not end everybody's connections. */
function catchCrashes(log: Log): void {
  process.on("uncaughtException", (error) => log.crash(error));
  process.on("unhandledRejection", (error) => log.crash(error));
}

function fail(problems: readonly string[], code = 1): number {
  process.stderr.write(`amper-channels cannot start:\n${problems.map((problem) => `  - ${problem}\n`).join("")}`);
  return code;
}

/** Why the service did not start, and what to do about it. */
function explain(error: unknown, { host, port }: Settings): string {
  if (error instanceof Error && error.name === "CannotOpen") return error.message;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") return `port ${port} on ${host} is in use: choose another with --port, or stop who has it`;
  if (code === "EACCES") return `port ${port} needs privileges: choose one above 1023 with --port`;
  return `cannot listen on ${host}:${port}: ${error instanceof Error ? error.message : "unknown reason"}`;
}
