import * as v from "valibot";
import { copyFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { createLog } from "../../src/observe/log.ts";
import type { Log } from "../../src/observe/log.ts";
import type { Service } from "../../src/service.ts";
import type { Certified } from "./certificates.ts";
import { page, type Options, type Page } from "./client.ts";
import { folder } from "./folder.ts";
import { apiKey, settingsOf, start, wsToken } from "./service.ts";

/** A service on TLS whose files can be renewed, and the lines of its log. */
export interface SecureService {
  readonly service: Service;
  readonly url: string;
  readonly files: Certified;
  readonly lines: readonly LogLine[];
  /** What `SIGHUP` does; with other settings, or those of the start. */
  reload(env?: Readonly<Record<string, string>>): void;
}

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

type Clocks = Pick<NonNullable<Parameters<typeof start>[1]>, "now" | "monotonic">;

export async function startSecurely(
  certified: Certified,
  { env = {}, ...clocks }: Clocks & { env?: Readonly<Record<string, string>> } = {},
): Promise<SecureService> {
  const home = folder();
  const files = { cert: join(home, "cert.pem"), key: join(home, "key.pem") };
  writeOver(files, certified);
  const { log, lines } = recordingLog();
  const own = { AMPER_TLS_CERT: files.cert, AMPER_TLS_KEY: files.key, AMPER_METRICS_TOKEN: apiKey, ...env };
  const service = await start(own, { log, ...clocks });
  const reload = (more: Readonly<Record<string, string>> = {}): void =>
    void service.reload(settingsOf({ ...own, ...more }));
  return { service, url: service.url, files, lines, reload };
}

export function recordingLog(): { readonly log: Log; readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = [];
  const at =
    (level: string): Log["info"] =>
    (event, fields = {}) =>
      void lines.push({ level, event, fields });
  const log: Log = { ...createLog("silent", Date.now), error: at("error"), warn: at("warn"), info: at("info") };
  return { log, lines };
}

/** Renews in place. */
export function writeOver(files: Certified, renewed: Certified): void {
  copyFileSync(renewed.cert, files.cert);
  copyFileSync(renewed.key, files.key);
}

/** Renews by rename. */
export function putInPlace(files: Certified, renewed: Certified): void {
  const fresh = { cert: `${files.cert}.new`, key: `${files.key}.new` };
  writeOver(fresh, renewed);
  renameSync(fresh.cert, files.cert);
  renameSync(fresh.key, files.key);
}

/** The serial number of the certificate that a new connection is shown. */
export function serialShown(url: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const { hostname: host, port } = new URL(url);
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
    resolve(socket.getPeerCertificate().serialNumber);
    socket.destroy();
  });
  socket.on("error", reject);
  return promise;
}

/** Asks on a connection of its own. */
export function ask(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...init, keepalive: false, tls: { rejectUnauthorized: false } });
}

const Counted = v.object({ connections: v.number() });

/** How many connections it was handed to. */
export async function notifySecurely(url: string, body: object): Promise<number> {
  const headers = { "Content-Type": "application/json", "X-API-Key": apiKey };
  const response = await ask(`${url}/notify`, { method: "POST", headers, body: JSON.stringify(body) });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  return v.parse(Counted, await response.json()).connections;
}

export async function connectionsOf(url: string): Promise<number> {
  const response = await ask(`${url}/connections`, { headers: { "X-API-Key": apiKey } });
  return v.parse(Counted, await response.json()).connections;
}

export async function connectedSecurely(url: string, user: string, channel: string, options: Options): Promise<Page> {
  const response = await ask(`${url}/authorize`, { headers: { Authorization: `Bearer ${wsToken}` } });
  const { token } = v.parse(v.object({ token: v.string() }), await response.json());
  const opened = page(url, { token, keycloakID: user, channel }, options);
  await new Promise<void>((resolve, reject) => {
    opened.socket.once("connect", resolve);
    opened.socket.once("connect_error", reject);
  });
  return opened;
}
