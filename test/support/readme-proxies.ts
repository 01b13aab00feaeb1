import { readmePath } from "../house/docs.ts";
import { caddyOf, describeCaddy, startCaddy } from "./caddy.ts";
import type { Certified } from "./certificates.ts";
import { describeHaproxy, haproxyOf, startHaproxy } from "./haproxy.ts";
import { describeNginx, nginxOf, startNginx } from "./nginx.ts";

/** The proxies of the README, by its own text, and what an operator may make of that. */

const readme = await Bun.file(readmePath).text();

export interface Shape {
  readonly tls?: Certified;
  /** The service is below `/notifications`, which the proxy passes on as it is, or strips. */
  readonly path?: "passed on" | "stripped";
  /** How long connections may be idle, in place of the minute of the README. */
  readonly idle_seconds?: number;
  /** After a reload, how long the connections from before are kept. */
  readonly leave_seconds?: number;
}

interface ReadmeFront {
  readonly url: string;
  /** Takes on the same configuration again. */
  reload(): Promise<void>;
}

export interface ReadmeProxy {
  describe(name: string, tests: () => void): void;
  /** Starts it for the service at `url`. Stopped after the test by itself. */
  start(url: string, shape?: Shape): Promise<ReadmeFront>;
}

/** Replaces what has to be there. */
function put(text: string, old: string, wanted: string): string {
  if (!text.includes(old)) throw new Error(`${old} is missing in:\n${text}`);
  return text.replaceAll(old, wanted);
}

async function front<Config>(
  begin: (config: Config) => Promise<{ readonly url: string; reload(config: Config): Promise<void> }>,
  config: Config,
  { tls }: Shape,
): Promise<ReadmeFront> {
  const { url, reload } = await begin(config);
  return {
    url: tls === undefined ? url : url.replace("http://127.0.0.1", "https://localhost"),
    reload: () => reload(config),
  };
}

const prefix = "/notifications/";

const nginx: ReadmeProxy = {
  describe: describeNginx,
  start(url, shape = {}) {
    const { tls, path, idle_seconds = 60, leave_seconds } = shape;
    let { http = "", server } = nginxOf(readme, url);
    server = put(server, "proxy_read_timeout 60s;", `proxy_read_timeout ${idle_seconds}s;`);
    http = put(http, "keepalive 64;", `keepalive 64; keepalive_timeout ${idle_seconds}s;`);
    if (path !== undefined) server = put(server, "location / {", `location ${prefix} {`);
    if (path === "stripped")
      server = put(server, "proxy_pass http://amper-channels;", "proxy_pass http://amper-channels/;");
    const main = leave_seconds === undefined ? "" : `worker_shutdown_timeout ${leave_seconds}s;`;
    return front(startNginx, { http, server, main, ...(tls && { tls }) }, shape);
  },
};

const haproxy: ReadmeProxy = {
  describe: describeHaproxy,
  start(url, shape = {}) {
    const { tls, path, idle_seconds, leave_seconds } = shape;
    const config = haproxyOf(readme, url);
    let { defaults = "", backend } = config;
    if (idle_seconds !== undefined) {
      for (const line of ["client 60s", "server 60s", "tunnel 1h"]) {
        defaults = put(defaults, `timeout ${line}`, `timeout ${line.split(" ")[0]} ${idle_seconds}s`);
      }
    }
    if (path === "stripped") backend += `  http-request replace-path ${prefix}(.*) /\\1\n`;
    const global = leave_seconds === undefined ? "" : `  hard-stop-after ${leave_seconds}s`;
    return front(startHaproxy, { ...config, global, defaults, backend, ...(tls && { tls }) }, shape);
  },
};

const caddy: ReadmeProxy = {
  describe: describeCaddy,
  start(url, shape = {}) {
    const { tls, path, idle_seconds = 60, leave_seconds = 300 } = shape;
    let { site } = caddyOf(readme, url);
    site = put(site, "keepalive 60s", `keepalive ${idle_seconds}s`);
    site = put(site, "stream_close_delay 5m", `stream_close_delay ${leave_seconds}s`);
    if (path !== undefined) site = `${path === "stripped" ? "handle_path" : "handle"} ${prefix}* {\n${site}\n}`;
    return front(startCaddy, { site, ...(tls && { tls }) }, shape);
  },
};

export const readmeProxies = { nginx, haproxy, caddy } as const;
