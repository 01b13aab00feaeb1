import { createAdmission } from "./authorize/admission.ts";
import { createAuthorize } from "./authorize/authorize.ts";
import type { JwksEvent } from "./authorize/jwks.ts";
import { createKeycloak } from "./authorize/keycloak.ts";
import { createRevocations } from "./authorize/revocations.ts";
import { createSecret, createSecrets } from "./authorize/secrets.ts";
import { createTokens } from "./authorize/tokens.ts";
import type { BunWebSocket, Connection } from "./connections/connection.ts";
import { presence, totals } from "./connections/directory.ts";
import { drain, drainPolling } from "./connections/drain.ts";
import { createFanout } from "./connections/fanout.ts";
import { createGateway } from "./connections/gateway.ts";
import { createHandshake } from "./connections/handshake.ts";
import { createRegistry } from "./connections/registry.ts";
import { clientAddress } from "./http/address.ts";
import { readText } from "./http/body.ts";
import { createCors } from "./http/cors.ts";
import { listen } from "./http/listen.ts";
import { createRouter } from "./http/router.ts";
import { createRoutes } from "./http/routes.ts";
import { randomEpoch } from "./journal/epoch.ts";
import { createMemoryJournal } from "./journal/memory.ts";
import { createWindow } from "./journal/window.ts";
import type { Entry, Outcome } from "./model/entry.ts";
import type { Channel, KeycloakId } from "./model/names.ts";
import { createNotify } from "./notify/notify.ts";
import { ready } from "./observe/health.ts";
import type { Log } from "./observe/log.ts";
import { createMetrics, kindOf } from "./observe/metrics.ts";
import type { Settings } from "./settings/schema.ts";
import { version } from "./version.ts";

type SocketData = BunWebSocket["data"];

const farewell_ms = 1000;

export interface Service {
  readonly url: string;
  /** Not ready, no new connections; ends the live ones over `drain_seconds`, then everything. */
  stop(): Promise<void>;
}

/** Settings → a running service. The only place that joins the rooms. Throws if it cannot listen. */
export function startService(settings: Settings, { log, now = Date.now }: { log: Log; now?: () => number }): Service {
  let draining = false;
  const knows = (channel: Channel) => settings.channels?.has(channel) ?? true;
  const registry = createRegistry<Connection>();

  // Journal: every node follows it, this one too.
  const journal = createMemoryJournal({ epoch: randomEpoch(), now });
  const window = createWindow({ seconds: settings.journal_window_seconds, bytes: settings.journal_window_bytes, now });
  const trimming = setInterval(() => window.trim(), 1000);
  journal.follow(follow);

  function follow(entry: Entry): Outcome {
    window.add(entry);
    if (entry.kind === "notification") return fanout.deliver(entry.target, entry.json, entry.cursor);
    revocations.revoke(entry.user, entry.before_ms);
    const connections = [...registry.ofUser(entry.user)];
    for (const connection of connections) gateway.close(connection, "revoked");
    return { connections: connections.length, offline: [] };
  }

  // Who may come in.
  const findApiKey = createSecrets(settings.api_keys, now);
  const tokens = createTokens({
    // Without one in the settings it lives as long as the process: so does everything else while the journal is in memory.
    secrets:
      settings.token_secret.length > 0
        ? settings.token_secret
        : [crypto.getRandomValues(Buffer.alloc(32)).toString("hex")],
    ttl_seconds: settings.token_ttl_seconds,
    now,
  });
  const revocations = createRevocations({ keep_ms: settings.token_ttl_seconds * 1000, now });
  const { issuer } = settings.keycloak;
  const keycloak =
    issuer === undefined
      ? undefined
      : createKeycloak({ ...settings.keycloak, issuer }, { now, onEvent: onKeysFetched });
  const authorize = createAuthorize({
    findWsToken: createSecrets(settings.ws_tokens, now),
    verifyAccessToken: keycloak?.verify,
    isRevoked: revocations.isRevoked,
    issue: tokens.issue,
    requireBoundTokens: settings.require_bound_tokens,
    rules: settings.channels,
  });

  // Connections.
  const fanout = createFanout({
    registry,
    publish: (topic, frame) => server.publish(topic, frame),
    backlogBytes: settings.backlog_bytes,
    onOverflow: (connection) => gateway.close(connection, "overloaded"),
  });
  const gateway = createGateway({
    admit: createAdmission({ verify: tokens.verify, isRevoked: revocations.isRevoked, knows }),
    isRevoked: revocations.isRevoked,
    registry,
    fanout,
    limits: {
      connectionsPerUser: settings.max_connections_per_user,
      connectTimeout_ms: settings.connect_timeout_ms,
      pingInterval_ms: settings.ping_interval_ms,
      pingTimeout_ms: settings.ping_timeout_ms,
    },
    now,
    on: {
      connected: ({ channel, ws }) =>
        log.debug("connected", { channel, transport: ws === null ? "polling" : "websocket" }),
      disconnected: ({ channel }, reason) => {
        metrics.disconnected(reason);
        log.debug("disconnected", { channel, reason });
      },
      refused: (code) => {
        metrics.refused(code);
        log.info("connection refused", { code });
      },
      closing: ({ user, channel }, code) => {
        metrics.closing(code);
        log.info("connection closing", { code, keycloakID: user, channel });
      },
      dropped: () => metrics.droppedEvent(),
    },
  });

  const notify = createNotify({
    findApiKey,
    knows,
    append: journal.append,
    onAccepted({ receipt, apiKey, target, requestId }) {
      metrics.notified(target, receipt.connections);
      const { id, connections } = receipt;
      log.info("notified", { id, kind: kindOf(target), connections, key: apiKey.name, requestId });
    },
  });

  async function disconnect(user: KeycloakId, by: { key: string; id: string }): Promise<object> {
    const { outcome } = await journal.append({ kind: "revocation", user, before_ms: now() });
    log.info("user revoked", { keycloakID: user, connections: outcome.connections, key: by.key, requestId: by.id });
    return { keycloakID: user, disconnected: outcome.connections };
  }

  // HTTP.
  const metrics = createMetrics(version, {
    sessions: () => gateway.sessions,
    polling: () => fanout.polling,
    users: () => registry.users,
    channels: () => registry.channels().map(([channel, members]) => [channel, members.size] as const),
    window: () => window,
  });
  const cors = createCors(settings.cors_origins);
  const { metrics_token } = settings;
  const router = createRouter<SocketData>({
    routes: createRoutes<SocketData>({
      authorize,
      notify,
      socketIo: createHandshake({
        handle: gateway.handle,
        sessions: () => gateway.sessions,
        maxSessions: settings.max_connections,
        isDraining: () => draining,
        allowsOrigin: cors.allows,
        readText,
        longestPoll_ms: settings.ping_interval_ms + settings.ping_timeout_ms,
      }),
      findApiKey,
      totals: (within) => totals(registry, within),
      presence: (user, within) => presence(registry, user, within),
      disconnect,
      ready: () => ready([{ name: "draining", status: draining ? "unavailable" : "ok" }, ...jwksHealth()]),
      metrics,
      metricsAccess: {
        open: settings.metrics_open,
        isToken: metrics_token === undefined ? undefined : createSecret(metrics_token),
      },
      maxBodyBytes: settings.max_body_bytes,
    }),
    cors,
    onAnswered: ({ route, status, seconds: taken }) => metrics.answered(route, status, taken),
    onProblem({ route, code, id, req, server: from }) {
      metrics.refused(code);
      const peer = from.requestIP(req)?.address ?? "";
      const address = clientAddress(peer, req.headers.get("x-forwarded-for"), settings.trust_proxy_hops);
      log.info("request refused", { route, code, address, requestId: id });
    },
    onCrash: (error, requestId) => log.crash(error, { requestId }),
  });

  function jwksHealth() {
    return keycloak === undefined ? [] : [{ name: "keycloak", ...keycloak.health() }];
  }

  function onKeysFetched(event: JwksEvent): void {
    metrics.jwksFetched(event.kind === "jwks_fetched");
    if (event.kind === "jwks_fetched") log.info("realm keys fetched", { keys: event.keys });
    else
      log.warn("realm keys not fetched", { reason: event.reason, failures: event.failures, retry_ms: event.retry_ms });
  }

  const { tls_cert: cert, tls_key: key } = settings;
  const server = listen<SocketData>({
    host: settings.host,
    port: settings.port,
    tls: cert === undefined || key === undefined ? undefined : { cert, key },
    answer: router,
    websocket: gateway.websocket,
    silence_ms: settings.ping_interval_ms + settings.ping_timeout_ms,
    backlogBytes: settings.backlog_bytes,
    onCrash: (error) => log.crash(error),
  });
  void keycloak?.start();

  return {
    url: server.url.origin,
    async stop() {
      draining = true;
      await drainPolling({ registry, close: gateway.close });
      const empty = server.stop(false);
      await drain({ registry, close: gateway.close, seconds: settings.drain_seconds });
      gateway.closeAll();
      // The last answers are still on their way: polls that carry `closing`, close frames.
      await Promise.race([empty, Bun.sleep(farewell_ms)]);
      await server.stop(true);
      await journal.close();
      keycloak?.stop();
      metrics.stop();
      clearInterval(trimming);
    },
  };
}
