import { longestLogoutToken_seconds } from "../authorize/logout_token.ts";
import { createSecret } from "../authorize/secrets.ts";
import type { BunWebSocket } from "../connections/connection.ts";
import { presence, totals } from "../connections/directory.ts";
import { createHandshake } from "../connections/handshake.ts";
import { readText } from "../http/body.ts";
import { createCors } from "../http/cors.ts";
import { createRouter, type Router } from "../http/router.ts";
import { createRoutes } from "../http/routes.ts";
import { isLoopback } from "../limits/address.ts";
import type { KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import { createIdempotency } from "../notify/idempotency.ts";
import { createNotify } from "../notify/notify.ts";
import { parseReceipt } from "../notify/receipt.ts";
import type { Events } from "../observe/events.ts";
import { ready } from "../observe/health.ts";
import type { Metrics } from "../observe/metrics.ts";
import { createLogout } from "../revocations/logout.ts";
import type { Revoker } from "../revocations/revoke.ts";
import type { Settings } from "../settings/schema.ts";
import type { Access } from "./access.ts";
import { clientLimits, type Connections } from "./connections.ts";
import type { Limits } from "./limits.ts";
import type { Store } from "./store.ts";

type SocketData = BunWebSocket["data"];

/** What is answered at which address. */
export function createHttp(
  settings: Settings,
  options: {
    events: Events;
    now: () => number;
    store: Store;
    access: Access;
    connections: Connections;
    limits: Limits;
    revoke: Revoker["revoke"];
    metrics: Metrics;
    isDraining: () => boolean;
  },
): Router<SocketData> {
  const { events, now, access, revoke, metrics, isDraining } = options;
  const { journal, held } = options.store;
  const { registry, fanout, gateway, sessions } = options.connections;
  const { gate, clientOf } = options.limits;
  const { apiKeys, knows } = access;
  const { metrics_token } = settings;
  const cors = createCors(settings.cors_origins);

  const notify = createNotify({
    apiKeys,
    limitRate: gate.notify,
    knows,
    reserve: held.reserve,
    append: journal.append,
    once: createIdempotency({
      recall: journal.recall,
      complete: ({ scope, key }, receipt) => journal.complete({ scope, key }, receipt),
      parse: parseReceipt,
    }),
    count: fanout.count,
    limits: { jsonDepth: settings.max_json_depth, listLength: settings.max_list_length },
    onAccepted: events.notified,
  });

  async function disconnect(user: KeycloakId, by: { key: string; id: string }): Promise<object> {
    const { connections, saved } = await revoke({ user, before_ms: now() });
    events.revocations.byOperator(user, connections, by);
    if (saved) return { keycloakID: user, disconnected: connections };
    // Unlike Keycloak, an operator can ask again.
    const detail = `The user's ${connections} connections have ended, but the journal cannot keep it now: a restart would forget it.`;
    throw new Problem("unavailable", { detail });
  }

  /** A handshake: cheapest first, and everything refuses for now. */
  function admit(req: Request, server: Bun.Server<SocketData>, transport: "polling" | "websocket"): void {
    const client = clientOf(req, server);
    gate.attempt(() => client);
    gate.handshake(client);
    sessions.requireRoom(client.key);
    if (transport === "websocket" || fanout.polling < settings.max_polling) return;
    events.limited("max_polling");
    throw new Problem("overloaded", { detail: "As many connections poll as the service takes (max_polling)." });
  }

  return createRouter<SocketData>({
    routes: createRoutes<SocketData>({
      authorize: access.authorize,
      limitAuthorize: gate.authorize,
      limitLogout: gate.logout,
      notify,
      socketIo: createHandshake({
        handle: gateway.handle,
        admit,
        isDraining,
        allowsOrigin: cors.allows,
        readText,
        clientLimits: clientLimits(settings),
        longestPoll_ms: settings.ping_interval_ms + settings.ping_timeout_ms,
      }),
      apiKeys,
      totals: (within) => totals(registry, within),
      presence: (user, within) => presence(registry, user, within),
      disconnect,
      logout: createLogout({
        verify: access.verifyLogout,
        revoke,
        longest_ms: longestLogoutToken_seconds * 1000,
        now,
        onLogout: events.revocations.loggedOut,
      }),
      ready: () =>
        ready([
          { name: "draining", status: isDraining() ? "unavailable" : "ok" },
          { name: "journal", ...journal.health() },
          ...access.health(),
        ]),
      metrics,
      metricsAccess: {
        open: settings.metrics_open,
        isToken: metrics_token === undefined ? undefined : createSecret(metrics_token),
        isLocal: isLoopback,
      },
      maxBodyBytes: settings.max_body_bytes,
    }),
    cors,
    clientOf,
    gate,
    maxUrlBytes: settings.max_url_bytes,
    ...events.http,
  });
}
