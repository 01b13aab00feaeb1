import * as v from "valibot";
import type { Log } from "../../src/observe/log.ts";
import { startService, type Service } from "../../src/service.ts";
import { loadSettings } from "../../src/settings/load.ts";
import type { Settings } from "../../src/settings/schema.ts";

export const apiKey = "test-api-key-0123456789";
export const wsToken = "test-ws-token-0123456789";

export const quietLog: Log = { error() {}, warn() {}, info() {}, debug() {}, crash() {}, flush: async () => {} };
const running = new Set<Service>();

/** Real settings, for a free port of loopback. */
export function settingsOf(env: Readonly<Record<string, string>> = {}, toml?: string): Settings {
  const loaded = loadSettings({
    args: toml === undefined ? [] : ["--config=test.toml"],
    env: {
      AMPER_HOST: "127.0.0.1",
      AMPER_PORT: "0",
      AMPER_JOURNAL: "memory:",
      AMPER_DRAIN_SECONDS: "0",
      ...(toml?.includes("api_keys") === true ? {} : { AMPER_API_KEYS: `backend=${apiKey}` }),
      ...(toml?.includes("ws_tokens") === true ? {} : { AMPER_WS_TOKENS: `front=${wsToken}` }),
      ...env,
    },
    readFile: () => toml ?? "",
  });
  if (!loaded.ok) throw new Error(loaded.problems.join("\n"));
  return loaded.settings;
}

/** Starts the real service on a free port of loopback, with real settings. Stopped after the test by itself. */
export async function start(
  env: Readonly<Record<string, string>> = {},
  options: { toml?: string; now?: () => number; monotonic?: () => number; log?: Log } = {},
): Promise<Service> {
  const service = await startService(settingsOf(env, options.toml), {
    log: options.log ?? quietLog,
    ...(options.now && { now: options.now }),
    ...(options.monotonic && { monotonic: options.monotonic }),
  });
  running.add(service);
  return service;
}

export async function stopServices(): Promise<void> {
  await Promise.all([...running].map((service) => service.stop()));
  running.clear();
}

const Token = v.object({ token: v.string() });

/** The websocket token for an access token or WS token. */
export async function authorizeWith(url: string, token: string): Promise<string> {
  const response = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  return v.parse(Token, await response.json()).token;
}
