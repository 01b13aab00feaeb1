import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certified } from "./certificates.ts";
import { startFront, type Front } from "./front.ts";
import { describeWith, findProgram } from "./parts.ts";

const executable = findProgram("haproxy");

/** A group of tests that need HAProxy, Debian's. */
export function describeHaproxy(name: string, tests: () => void): void {
  const missing = executable === undefined ? "haproxy is not installed (apt-get install haproxy)" : undefined;
  describeWith({ missing }, name, tests);
}

export interface HaproxyConfig {
  readonly mode: "http" | "tcp";
  /** Lines of the section `global`. */
  readonly global?: string;
  /** Lines of the section `defaults`: the timeouts. */
  readonly defaults?: string;
  /** It speaks TLS. */
  readonly tls?: Certified;
  /** Lines of the section `frontend` beside `bind`. */
  readonly frontend?: string;
  /** Lines of the section `backend`: the servers. */
  readonly backend: string;
}

const usualTimeouts = `
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
`;

export function startHaproxy(config: HaproxyConfig): Promise<Front<HaproxyConfig>> {
  return startFront(
    {
      name: "haproxy",
      command: (home) => [executable ?? "haproxy", "-W", "-p", join(home, "pid"), "-f", join(home, "config")],
      reload: "SIGUSR2",
      started: /Loading success/,
      reloaded: /Proxy front stopped/g,
      configure: ({ mode, global = "", defaults = usualTimeouts, tls, frontend = "", backend }, { home, port }) => `
global
  nbthread 1
${global}
defaults
  mode ${mode}
${defaults}
frontend front
  bind 127.0.0.1:${port}${tls === undefined ? "" : ` ssl crt ${pem(home, tls)}`}
  default_backend service
${frontend}
backend service
${backend}
`,
    },
    config,
  );
}

/** HAProxy reads the certificate and its key from one file. */
function pem(home: string, { cert, key }: Certified): string {
  const path = join(home, "tls.pem");
  writeFileSync(path, readFileSync(cert, "utf8") + readFileSync(key, "utf8"));
  return path;
}

/** The block for HAProxy in a text of Markdown, for the service at `url`. */
export function haproxyOf(markdown: string, url: string): HaproxyConfig {
  const block = /^```haproxy\n(.*?)^```$/ms.exec(markdown)?.[1];
  const address = "127.0.0.1:3000";
  const sections = /^defaults\n(.*)^frontend \S+\n(.*)^ +default_backend (\S+)\n(.*)^backend \3\n(.*)$/ms.exec(
    block ?? "",
  );
  const [, defaults, before = "", , after = "", backend] = sections ?? [];
  if (defaults === undefined || backend?.includes(address) !== true) throw new Error("there is no block for HAProxy");
  return { mode: "http", defaults, frontend: before + after, backend: backend.replaceAll(address, new URL(url).host) };
}
