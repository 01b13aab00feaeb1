import { createSecret } from "../authorize/secrets.ts";
import { isLoopback } from "../limits/address.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Settings } from "../settings/schema.ts";
import { bearer } from "./credentials.ts";
import type { Exchange } from "./exchange.ts";
import { respond } from "./respond.ts";
import type { Handler } from "./router.ts";

export type MetricsSettings = Pick<Settings, "metrics_token" | "metrics_open">;

/** `GET /metrics`: with the token, where there is one; else by everybody, or from this machine only. */
export function metricsRoute({ metrics_token, metrics_open }: MetricsSettings, metrics: Metrics): Handler {
  const isToken = metrics_token === undefined ? undefined : createSecret(metrics_token);

  function requireAccess({ req, server }: Exchange): void {
    if (isToken !== undefined) {
      const token = bearer(req.headers);
      if (token === undefined) throw new Problem("metrics_token_invalid");
      if (!isToken(token)) throw new Guess("metrics_token_invalid");
    } else if (!metrics_open && !isLoopback(server.requestIP(req)?.address ?? "", req.headers)) {
      const detail = "Set metrics_token or metrics_open to scrape from elsewhere, or by another name.";
      throw new Problem("metrics_forbidden", { detail });
    }
  }

  return async (exchange) => {
    requireAccess(exchange);
    return respond(200, await metrics.scrape(), metrics.contentType);
  };
}
