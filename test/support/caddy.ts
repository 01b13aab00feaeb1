import { join } from "node:path";
import type { Certified } from "./certificates.ts";
import { startFront, type Front } from "./front.ts";
import { describeWith, findProgram } from "./parts.ts";

const executable = findProgram("caddy");

/** A group of tests that need Caddy. */
export function describeCaddy(name: string, tests: () => void): void {
  const missing = executable === undefined ? "caddy is not on the PATH (.ci/caddy)" : undefined;
  describeWith({ missing }, name, tests);
}

export interface CaddyConfig {
  /** What stands in the site's block. */
  readonly site: string;
  /** It speaks TLS. */
  readonly tls?: Certified;
}

export function startCaddy(config: CaddyConfig): Promise<Front<CaddyConfig>> {
  return startFront(
    {
      name: "caddy",
      command: (home) => {
        const files = ["--config", join(home, "config"), "--adapter", "caddyfile", "--pidfile", join(home, "pid")];
        return [executable ?? "caddy", "run", ...files];
      },
      reload: "SIGUSR1",
      started: /serving initial configuration/,
      reloaded: /successfully reloaded config/g,
      configure: ({ site, tls }, { home, port }) => `
{
  admin off
  persist_config off
  auto_https disable_redirects
  default_bind 127.0.0.1
  grace_period 1s
  storage file_system ${home}/storage
  log {
    output stderr
  }
}
${tls === undefined ? "http" : "https"}://:${port} {
  ${tls === undefined ? "" : `tls ${tls.cert} ${tls.key}`}
${site}
}
`,
    },
    config,
  );
}

/** The block for Caddy in a text of Markdown, for the service at `url`. */
export function caddyOf(markdown: string, url: string): CaddyConfig {
  const block = /^```caddy\n(.*?)^```$/ms.exec(markdown)?.[1];
  const address = "127.0.0.1:3000";
  const site = /^\S+ \{\n(.*)^\}\n$/ms.exec(block ?? "")?.[1];
  if (site?.includes(address) !== true) throw new Error("there is no block for Caddy");
  return { site: site.replaceAll(address, new URL(url).host) };
}
