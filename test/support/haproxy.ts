import { join } from "node:path";
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
  /** Lines of the section `frontend` beside `bind`. */
  readonly frontend?: string;
  /** Lines of the section `backend`: the servers. */
  readonly backend: string;
}

export function startHaproxy(config: HaproxyConfig): Promise<Front<HaproxyConfig>> {
  return startFront(
    {
      name: "haproxy",
      command: (home) => [executable ?? "haproxy", "-W", "-p", join(home, "pid"), "-f", join(home, "config")],
      reload: "SIGUSR2",
      started: /Loading success/,
      reloaded: /Proxy front stopped/g,
      configure: ({ mode, frontend = "", backend }, { port }) => `
global
  nbthread 1
defaults
  mode ${mode}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
frontend front
  bind 127.0.0.1:${port}
  default_backend service
${frontend}
backend service
${backend}
`,
    },
    config,
  );
}
