import type { Access } from "../authorize/access.ts";
import type { Authorize } from "../authorize/authorize.ts";
import type { Gate } from "../limits/gate.ts";
import type { Notify } from "../notify/notify.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Logout } from "../revocations/logout.ts";
import type { Settings } from "../settings/schema.ts";
import { readForm, readJson } from "./body.ts";
import { clientFileRoutes } from "./client-files.ts";
import { connectionRoutes, type ConnectionNeeds } from "./connections.ts";
import { bearer, headerKey, schemeOf } from "./credentials.ts";
import type { Exchange } from "./exchange.ts";
import { metricsRoute, type MetricsSettings } from "./metrics.ts";
import { readiness, type ReadinessNeeds } from "./readiness.ts";
import { json, respond } from "./respond.ts";
import type { RouteTable } from "./router.ts";

export type RouteSettings = MetricsSettings & Pick<Settings, "max_body_bytes">;

export interface RouteNeeds extends ConnectionNeeds, ReadinessNeeds {
  readonly access: Access;
  readonly gate: Gate;
  readonly authorize: Authorize;
  readonly notify: Notify;
  readonly logout: Logout;
  readonly metrics: Metrics;
}

/** The whole route table. */
export function createRoutes(settings: RouteSettings, needs: RouteNeeds): RouteTable {
  const { gate, authorize, notify, logout } = needs;
  const { max_body_bytes } = settings;

  return {
    "/authorize": {
      pages: "listed",
      guarded: true,
      async GET({ req: { headers }, url, client, trail }) {
        const credential = { secret: bearer(headers), scheme: schemeOf(headers) };
        const origin = { client: client(), trail };
        return json(200, await authorize({ ...credential, ...origin, query: url.searchParams }));
      },
    },
    "/notify": { guarded: true, POST: postNotify },
    ...clientFileRoutes(),
    ...connectionRoutes(needs),
    "/health/live": { GET: () => json(200, { status: "live" }) },
    "/health/ready": { GET: () => json(200, readiness(needs)) },
    "/metrics": { guarded: settings.metrics_token !== undefined, GET: metricsRoute(settings, needs.metrics) },
    "/backchannel-logout": {
      guarded: true,
      async POST(exchange) {
        const { client, trail } = exchange;
        gate.logout(client());
        await logout.take(await readForm(exchange, max_body_bytes), { client: client(), trail });
        return respond(200, null, "");
      },
    },
  };

  async function postNotify(exchange: Exchange): Promise<Response> {
    const { req, trail } = exchange;
    const { receipt, replayed } = await notify({
      trail,
      apiKey: headerKey(req.headers),
      idempotencyKey: req.headers.get("idempotency-key"),
      readJson: () => readJson(exchange, max_body_bytes),
    });
    return json(200, receipt, replayed ? { "Idempotent-Replayed": "true" } : {});
  }
}
