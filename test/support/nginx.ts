import { join } from "node:path";
import type { Certified } from "./certificates.ts";
import { startFront, type Front } from "./front.ts";
import { describeWith, findProgram } from "./parts.ts";

const executable = findProgram("nginx");

/** A group of tests that need nginx, Debian's. */
export function describeNginx(name: string, tests: () => void): void {
  const missing = executable === undefined ? "nginx is not installed (apt-get install nginx-light)" : undefined;
  describeWith({ missing }, name, tests);
}

export interface NginxConfig {
  /** What stands in `server { … }` beside `listen`: the locations. */
  readonly server: string;
  /** What stands beside it in `http { … }`. */
  readonly http?: string;
  /** What stands beside that. */
  readonly main?: string;
  /** It speaks TLS. */
  readonly tls?: Certified;
}

export function startNginx(config: NginxConfig): Promise<Front<NginxConfig>> {
  return startFront(
    {
      name: "nginx",
      command: (home) => [executable ?? "nginx", "-p", home, "-c", join(home, "config"), "-e", "stderr"],
      reload: "SIGHUP",
      started: /start worker process/,
      reloaded: /gracefully shutting down/g,
      configure: ({ server, http = "", main = "", tls }, { home, port }) => `
        ${main}
        daemon off;
        worker_processes 1;
        pid ${home}/pid;
        error_log stderr notice;
        events { worker_connections 1024; }
        http {
          access_log off;
          client_body_temp_path ${home}/body;
          proxy_temp_path ${home}/proxy;
          fastcgi_temp_path ${home}/fastcgi;
          uwsgi_temp_path ${home}/uwsgi;
          scgi_temp_path ${home}/scgi;
          ${http}
          server {
            listen 127.0.0.1:${port}${tls === undefined ? "" : ` ssl; ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key}`};
            ${server}
          }
        }`,
    },
    config,
  );
}

/** The block for nginx in a text of Markdown, for the service at `url`. */
export function nginxOf(markdown: string, url: string): NginxConfig {
  const block = /^```nginx\n(.*?)^```$/ms.exec(markdown)?.[1];
  const address = "127.0.0.1:3000";
  const [, http, server] = /^(.*)^server \{\n(.*)^\}\n$/ms.exec(block ?? "") ?? [];
  if (http?.includes(address) !== true || server === undefined) throw new Error("there is no block for nginx");
  return { http: http.replaceAll(address, new URL(url).host), server };
}
