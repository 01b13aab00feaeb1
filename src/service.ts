import { createAdmission } from "./authorize/admission.ts";
import { createAuthorize } from "./authorize/authorize.ts";
import { createKeycloak } from "./authorize/keycloak.ts";
import { createRevocations } from "./authorize/revocations.ts";
import { createSecret, createSecrets } from "./authorize/secrets.ts";
import { createTokens } from "./authorize/tokens.ts";
import { createBeat } from "./connections/beat.ts";
import { createConfirmation } from "./connections/confirmation.ts";
import type { BunWebSocket, Connection } from "./connections/connection.ts";
import { presence, totals } from "./connections/directory.ts";
import { drain, drainPolling } from "./connections/drain.ts";
import { createFanout } from "./connections/fanout.ts";
import { createGateway } from "./connections/gateway.ts";
import { createHandshake } from "./connections/handshake.ts";
import { createRecovery } from "./connections/recovery.ts";
import { createRegistry } from "./connections/registry.ts";
import { readText } from "./http/body.ts";
import { createCors } from "./http/cors.ts";
import { listen } from "./http/listen.ts";
import { createRouter } from "./http/router.ts";
import { createRoutes } from "./http/routes.ts";
import type { Journal } from "./journal/journal.ts";
import { createMemoryJournal } from "./journal/memory.ts";
import { openSqliteJournal } from "./journal/sqlite.ts";
import { createWindow } from "./journal/window.ts";
import type { Entry, Outcome } from "./model/entry.ts";
import type { Channel, KeycloakId } from "./model/names.ts";
import { createHeld } from "./notify/held.ts";
import { createIdempotency } from "./notify/idempotency.ts";
import { createNotify } from "./notify/notify.ts";
import { parseReceipt } from "./notify/receipt.ts";
import { createEvents } from "./observe/events.ts";
import { ready } from "./observe/health.ts";
import type { Log } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import type { Settings } from "./settings/schema.ts";
import { version } from "./version.ts";

type SocketData = BunWebSocket["data"];

const tidy_ms = 1000;
const farewell_ms = 1000;

export interface Service {
  readonly url: string;
  /** Not ready, no new connections; ends the live ones over `drain_seconds`, then everything. */
  stop(): Promise<void>;
}

/** Settings → a running service. The only place that joins the rooms. Throws if it cannot listen, or gets no journal. */
export async function startService(
  settings: Settings,
  { log, now = Date.now }: { log: Log; now?: () => number },
): Promise<Service> {
  let draining = false;
  const events = createEvents(log, () => metrics);
  const knows = (channel: Channel) => settings.channels?.has(channel) ?? true;
  const registry = createRegistry<Connection>();

  // Journal: every node follows it, this one too.
  const revocations_ms = settings.token_ttl_seconds * 1000;
  const journal = await openJournal();
  const { history } = journal;
  const window = createWindow({
    seconds: settings.journal_window_seconds,
    bytes: settings.journal_window_bytes,
    now,
    epochs: history.epochs,
    trimmedTo: history.trimmedTo,
  });
  const held = createHeld({
    limits: {
      perUser: settings.max_held_per_user,
      // What is held, and what was missed, go out in one burst, and have to fit into the backlog together.
      bytesPerUser: settings.backlog_bytes / 4,
      total: settings.max_held,
      totalBytes: settings.max_held_bytes,
    },
    now,
    release(user, sequences, why) {
      journal.release(user, sequences);
      events.released(why, sequences.length);
    },
  });
  const revocations = createRevocations({ keep_ms: revocations_ms, now });
  for (const entry of history.entries) window.add(entry);
  for (const { entry, users } of history.held) held.add(entry, users);
  for (const { user, before_ms } of history.revocations) revocations.revoke(user, before_ms);
  journal.follow(follow);

  function follow(entry: Entry): Outcome {
    window.add(entry);
    beat.moved(entry);
    if (entry.kind === "notification") {
      if (entry.ttl_seconds > 0) held.add(entry);
      return fanout.deliver(entry);
    }
    revocations.revoke(entry.user, entry.before_ms);
    const connections = [...registry.ofUser(entry.user)];
    for (const connection of connections) gateway.close(connection, "revoked");
    return { connections: connections.length, offline: [] };
  }

  function openJournal(): Promise<Journal> {
    if (settings.journal.kind === "memory") return Promise.resolve(createMemoryJournal({ now }));
    return openSqliteJournal({
      path: settings.journal.path,
      sync: settings.journal_sync,
      takeover_seconds: settings.takeover_seconds,
      window_ms: settings.journal_window_seconds * 1000,
      revocations_ms,
      now,
      ...events.journal,
    });
  }

  // Who may come in.
  const findApiKey = createSecrets(settings.api_keys, now);
  const tokens = createTokens({
    secrets: settings.token_secret.length > 0 ? settings.token_secret : [history.tokenSecret],
    ttl_seconds: settings.token_ttl_seconds,
    now,
  });
  const { issuer } = settings.keycloak;
  const keycloak =
    issuer === undefined
      ? undefined
      : createKeycloak({ ...settings.keycloak, issuer }, { now, onEvent: events.keysFetched });
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
    onOverflow(connection) {
      events.overflowed(connection);
      gateway.close(connection, "overloaded");
    },
    onHeldWritten: (connection) => confirmation.watch(connection),
  });
  const confirmation = createConfirmation({
    head: () => window.last,
    confirm: ({ user, channel }, upTo) => held.confirm(user, channel, upTo),
    isWaiting: ({ user, channel }) => held.waiting(user, channel).length > 0,
  });
  const beat = createBeat({
    every_ms: (settings.journal_window_seconds * 1000) / 5,
    everyBytes: settings.journal_window_bytes / 5,
    head: window.head,
    announce: fanout.announce,
  });
  const gateway = createGateway({
    admit: createAdmission({ verify: tokens.verify, isRevoked: revocations.isRevoked, knows }),
    isRevoked: revocations.isRevoked,
    resume: createRecovery({
      head: window.head,
      last: () => window.last,
      locate: window.locate,
      since: window.since,
      limitBytes: settings.backlog_bytes / 2,
    }),
    waiting(user, channel, confirmed) {
      if (confirmed !== undefined) held.confirm(user, channel, confirmed);
      return held.waiting(user, channel);
    },
    registry,
    fanout,
    limits: {
      connectionsPerUser: settings.max_connections_per_user,
      connectTimeout_ms: settings.connect_timeout_ms,
      pingInterval_ms: settings.ping_interval_ms,
      pingTimeout_ms: settings.ping_timeout_ms,
    },
    now,
    on: events.connections,
  });

  const notify = createNotify({
    findApiKey,
    knows,
    reserve: held.reserve,
    append: journal.append,
    once: createIdempotency({
      recall: journal.recall,
      complete: ({ scope, key }, receipt) => journal.complete({ scope, key }, receipt),
      parse: parseReceipt,
    }),
    count: fanout.count,
    onAccepted: events.notified,
  });

  async function disconnect(user: KeycloakId, by: { key: string; id: string }): Promise<object> {
    const { outcome } = await journal.append({ kind: "revocation", user, before_ms: now() });
    events.revoked(user, outcome, by);
    return { keycloakID: user, disconnected: outcome.connections };
  }

  // HTTP.
  const metrics = createMetrics(version, {
    sessions: () => gateway.sessions,
    polling: () => fanout.polling,
    users: () => registry.users,
    channels: () => registry.channels().map(([channel, members]) => [channel, members.size] as const),
    window: () => ({
      entries: window.entries,
      bytes: window.bytes,
      age_seconds: (now() - (window.oldest_ms ?? now())) / 1000,
    }),
    journalBytes: journal.sizeBytes,
    held: () => held,
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
      ready: () =>
        ready([
          { name: "draining", status: draining ? "unavailable" : "ok" },
          { name: "journal", ...journal.health() },
          ...jwksHealth(),
        ]),
      metrics,
      metricsAccess: {
        open: settings.metrics_open,
        isToken: metrics_token === undefined ? undefined : createSecret(metrics_token),
      },
      maxBodyBytes: settings.max_body_bytes,
    }),
    cors,
    trustProxyHops: settings.trust_proxy_hops,
    ...events.http,
  });

  function jwksHealth() {
    return keycloak === undefined ? [] : [{ name: "keycloak", ...keycloak.health() }];
  }

  const { tls_cert: cert, tls_key: key } = settings;
  const server = listen<SocketData>({
    host: settings.host,
    port: settings.port,
    tls: cert === undefined || key === undefined ? undefined : { cert, key },
    answer: router.answer,
    websocket: gateway.websocket,
    silence_ms: settings.ping_interval_ms + settings.ping_timeout_ms,
    backlogBytes: settings.backlog_bytes,
    onCrash: events.http.onCrash,
  });
  void keycloak?.start();
  const tidying = setInterval(() => {
    window.trim();
    held.expire();
    journal.trim(window.trimmedTo);
  }, tidy_ms);

  return {
    url: server.url.origin,
    async stop() {
      draining = true;
      await drainPolling({ registry, close: gateway.close });
      const empty = server.stop(false);
      await router.idle();
      // Free for the successor at once: our connections catch up there, one by one.
      await journal.close();
      await drain({ registry, close: gateway.close, seconds: settings.drain_seconds });
      gateway.closeAll();
      // The last answers are still on their way: polls that carry `closing`, close frames.
      await Promise.race([empty, Bun.sleep(farewell_ms)]);
      await server.stop(true);
      keycloak?.stop();
      metrics.stop();
      beat.stop();
      clearInterval(tidying);
    },
  };
}
