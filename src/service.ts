import { listen } from "./http/listen.ts";
import { createEvents } from "./observe/events.ts";
import type { Log } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { createAccess } from "./service/access.ts";
import { createConnections } from "./service/connections.ts";
import { createHttp } from "./service/http.ts";
import { openStore } from "./service/store.ts";
import type { Settings } from "./settings/schema.ts";
import { version } from "./version.ts";

const tidy_ms = 1000;
const farewell_ms = 1000;

export interface Service {
  readonly url: string;
  /** Not ready, no new connections; ends the live ones over `drain_seconds`, then everything. */
  stop(): Promise<void>;
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
  const revocations_ms = settings.token_ttl_seconds * 1000;
  const store = await openStore(settings, { events, now, revocations_ms });
  const { journal, window, held } = store;
  const access = createAccess(settings, { events, now, history: journal.history, revocations_ms });
  const publish = (topic: string, frame: string) => server.publish(topic, frame);
  const connections = createConnections(settings, { events, now, store, access, publish });
  const { registry, fanout, gateway } = connections;
  // Every node follows the journal, this one too.
  journal.follow(connections.follow);

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
  const router = createHttp(settings, {
    events,
    now,
    store,
    access,
    connections,
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
    onCrash: events.http.onCrash,
  });
  access.start();
  const tidying = setInterval(store.tidy, tidy_ms);

  return {
    url: server.url.origin,
    async stop() {
      draining = true;
      await connections.drainPolling();
      const empty = server.stop(false);
      await router.idle();
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
    },
  };
}
