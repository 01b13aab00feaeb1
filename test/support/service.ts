import * as v from "valibot";
import type { Log } from "../../src/observe/log.ts";
import { startService, type Service } from "../../src/service.ts";
import { loadSettings } from "../../src/settings/load.ts";

export const apiKey = "test-api-key-0123456789";
export const wsToken = "test-ws-token-0123456789";

const quiet: Log = { error() {}, warn() {}, info() {}, debug() {}, crash() {}, flush: async () => {} };
const running = new Set<Service>();

/** Starts the real service on a free port of loopback, with real settings. Stopped after the test by itself. */
export async function start(
  env: Readonly<Record<string, string>> = {},
  options: { toml?: string; now?: () => number; log?: Log } = {},
): Promise<Service> {
  const loaded = loadSettings({
    args: options.toml === undefined ? [] : ["--config=test.toml"],
    env: {
      AMPER_HOST: "127.0.0.1",
      AMPER_PORT: "0",
      AMPER_JOURNAL: "memory:",
      AMPER_DRAIN_SECONDS: "0",
      ...(options.toml?.includes("api_keys") === true ? {} : { AMPER_API_KEYS: `backend=${apiKey}` }),
      ...(options.toml?.includes("ws_tokens") === true ? {} : { AMPER_WS_TOKENS: `front=${wsToken}` }),
      ...env,
    },
    readFile: () => options.toml ?? "",
  });
  if (!loaded.ok) throw new Error(loaded.problems.join("\n"));
  const service = await startService(loaded.settings, {
    log: options.log ?? quiet,
    ...(options.now && { now: options.now }),
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
