import { createSecret } from "../authorize/secrets.ts";
import { isOwn } from "../limits/address.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { Metrics } from "../observe/metrics.ts";
import { isLoopback } from "../settings/loopback.ts";
import type { Settings } from "../settings/schema.ts";
import { bearer } from "./credentials.ts";
import type { Exchange } from "./exchange.ts";
import { respond } from "./respond.ts";
import type { Handler } from "./router.ts";

export type MetricsSettings = Pick<Settings, "host" | "metrics_token" | "metrics_open" | "trust_proxy_hops">;

const closed =
  "Set metrics_token, or metrics_open. Without them metrics are for callers on this machine only, while the service listens" +
  " on a loopback address (host) and trusts no proxy (trust_proxy_hops).";

/**
 * `GET /metrics`: with the token, where there is one; else by everybody, or from this machine only. Where a request comes from
 * is no right where others can come the same way: through a proxy, every request comes from where the proxy is.
 */
export function metricsRoute(settings: MetricsSettings, metrics: Metrics): Handler {
  const { host, metrics_token, metrics_open, trust_proxy_hops } = settings;
  const isForThisMachine = isLoopback(host) && trust_proxy_hops === 0;
  const isToken = metrics_token === undefined ? undefined : createSecret(metrics_token);

  function requireAccess({ req, server }: Exchange): void {
    if (isToken !== undefined) {
      const token = bearer(req.headers);
      if (token === undefined) throw new Problem("metrics_token_invalid");
      if (!isToken(token)) throw new Guess("metrics_token_invalid");
    } else if (!metrics_open && !(isForThisMachine && isOwn(server.requestIP(req)?.address ?? "", req.headers))) {
      throw new Problem("metrics_forbidden", { detail: closed });
    }
  }

  return async (exchange) => {
    requireAccess(exchange);
    return respond(200, await metrics.scrape(), metrics.contentType);
  };
}
