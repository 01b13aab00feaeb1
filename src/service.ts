import { listen } from "./http/listen.ts";
import { createEvents } from "./observe/events.ts";
import type { Log } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { createRevoker } from "./revocations/revoke.ts";
import { createAccess, longestCredential_ms } from "./service/access.ts";
import { createConnections } from "./service/connections.ts";
import { createHttp } from "./service/http.ts";
import { createLimits } from "./service/limits.ts";
import { openStore } from "./service/store.ts";
import type { Settings } from "./settings/schema.ts";
import { version } from "./version.ts";

const tidy_ms = 1000;
const farewell_ms = 1000;

export interface Service {
  readonly url: string;
  /**
   * Takes on the API keys, WS tokens, `require_bound_tokens` and channel rules of these settings, and ends the connections
   * that rest on one that is gone or has changed; tells how many.
   */
  reload(settings: Settings): number;
  /**
   * Not ready, no new connections; ends the live ones over `drain_seconds`, then everything. Resolves with whether the journal
   * has all that has to outlive it: if not, the log names what it has not.
   */
  stop(): Promise<boolean>;
}

/**
 * Settings → a running service. Only here and in `service/` are the rooms joined. Throws if it cannot listen, or gets no
 * journal.
 */
export async function startService(
  settings: Settings,
  { log, now = Date.now }: { log: Log; now?: () => number },
): Promise<Service> {
  let draining = false;
  const events = createEvents(log, () => metrics);
  const revocations_ms = longestCredential_ms(settings);
  const store = await openStore(settings, { events, now, revocations_ms });
  const { journal, window, held } = store;
  const limits = createLimits(settings, { events, now });
  const access = createAccess(settings, { events, now, history: journal.history, limits });
  const publish = (topic: string, frame: string) => server.publish(topic, frame);
  const connections = createConnections(settings, { events, now, store, access, limits, publish });
  const { registry, fanout, gateway, sessions } = connections;
  // Every node follows the journal, this one too.
  journal.follow(connections.follow);
  const revoker = createRevoker({
    apply(revoked) {
      access.revocations.add(revoked, now());
      return connections.end(revoked);
    },
    append: journal.append,
    onUnsaved: events.revocations.onUnsaved,
  });

  const metrics = createMetrics(version, {
    sessions: () => ({ all: sessions.size, unauthenticated: sessions.unauthenticated }),
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
    revocations: () => ({ inForce: access.revocations.size, unsaved: revoker.unsaved }),
    realms: access.realms,
  });
  const router = createHttp(settings, {
    events,
    now,
    store,
    access,
    connections,
    limits,
    revoke: revoker.revoke,
    metrics,
    isDraining: () => draining,
  });

  const { tls_cert: cert, tls_key: key } = settings;
  const server = listen({
    host: settings.host,
    port: settings.port,
    tls: cert === undefined || key === undefined ? undefined : { cert, key },
    answer: router.answer,
    websocket: gateway.websocket,
    silence_ms: settings.ping_interval_ms + settings.ping_timeout_ms,
    backlogBytes: settings.backlog_bytes,
    maxHeaderBytes: settings.max_header_bytes,
    maxControlFrames: settings.max_client_messages,
    onControlFlood: () => events.connections.exceeded("messages"),
    onCrash: events.http.onCrash,
  });
  access.start();
  const tidying = setInterval(() => {
    store.tidy();
    access.revocations.tidy();
    if (access.hasEnded()) connections.endRevoked();
  }, tidy_ms);

  return {
    url: server.url.origin,
    reload(given) {
      access.reload(given);
      return connections.endRevoked();
    },
    async stop() {
      draining = true;
      await connections.drainPolling();
      const empty = server.stop(false);
      await router.idle();
      const lost = await revoker.stop();
      for (const revoked of lost) events.revocations.lost(revoked);
      // Free for the successor at once: our connections catch up there, one by one.
      await journal.close();
      await connections.drain();
      connections.stop();
      // The last answers are still on their way: polls that carry `closing`, close frames.
      await Promise.race([empty, Bun.sleep(farewell_ms)]);
      await server.stop(true);
      access.stop();
      metrics.stop();
      clearInterval(tidying);
      return lost.length === 0;
    },
  };
}
