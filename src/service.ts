import { createAccess, longestCredential_ms } from "./authorize/access.ts";
import { createAdmission } from "./authorize/admission.ts";
import { createAuthorize } from "./authorize/authorize.ts";
import { createRealms } from "./authorize/realms.ts";
import { createRevocations } from "./authorize/revocations.ts";
import { createTokens } from "./authorize/tokens.ts";
import { createClock } from "./clock/clock.ts";
import { createWall } from "./clock/wall.ts";
import { createBacklog } from "./connections/backlog.ts";
import { createBeat } from "./connections/beat.ts";
import { createConfirmation } from "./connections/confirmation.ts";
import type { Connection } from "./connections/connection.ts";
import { drain, drainPolling } from "./connections/drain.ts";
import { createExpiry } from "./connections/expiry.ts";
import { createFanout } from "./connections/fanout.ts";
import { createGateway } from "./connections/gateway.ts";
import { createMembers } from "./connections/members.ts";
import { createPacing } from "./connections/pacing.ts";
import { createRecovery } from "./connections/recovery.ts";
import { createRegistry } from "./connections/registry.ts";
import { createSessions } from "./connections/sessions.ts";
import { createDelivery } from "./delivery.ts";
import { registerGauges } from "./gauges.ts";
import { createAnswers } from "./http/answer.ts";
import { createCors } from "./http/cors.ts";
import { createDescriptors } from "./http/descriptors.ts";
import { createEnding } from "./http/ending.ts";
import { createEngineRoute } from "./http/engine.ts";
import { farewell } from "./http/farewell.ts";
import { openListeners, type Listeners } from "./http/listeners.ts";
import { createOwners } from "./http/owners.ts";
import { createRouter } from "./http/router.ts";
import { createRoutes } from "./http/routes.ts";
import { createHeld } from "./journal/held.ts";
import { createMemoryJournal } from "./journal/memory.ts";
import { openSqliteJournal } from "./journal/sqlite.ts";
import { createWindow } from "./journal/window.ts";
import { createClients } from "./limits/address.ts";
import { createGate } from "./limits/gate.ts";
import { createNotify } from "./notify/notify.ts";
import { createEvents } from "./observe/events.ts";
import type { Log } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { createLogout } from "./revocations/logout.ts";
import { createRevoker } from "./revocations/revoke.ts";
import type { Settings } from "./settings/schema.ts";
import { createCertificate } from "./tls/certificate.ts";
import { version } from "./version.ts";

const tidy_ms = 1000;

export interface Service {
  readonly url: string;
  /**
   * Takes on keys, tokens, channel rules and TLS files as these settings have them. Ends the connections that rest on one
   * that is gone at once, and those that rest on one that has changed over `drain_seconds`; tells how many.
   */
  reload(settings: Settings): number;
  /**
   * Not ready, no new connections; ends the live ones, over `drain_seconds` if a successor waits for the journal, then everything.
   * Resolves with whether the journal has all that has to outlive it: if not, the log names what it has not.
   */
  stop(): Promise<boolean>;
}

/**
 * Settings → a running service: the one composition, from top to bottom. Throws if it cannot listen, or gets no journal.
 *
 * @param options.stop ends the wait for the journal: throws its reason.
 * @param options.now the wall clock.
 * @param options.monotonic the clock that nobody sets. Where only `now` is given, time passes as it says.
 */
export async function startService(
  settings: Settings,
  options: {
    readonly log: Log;
    readonly now?: () => number;
    readonly monotonic?: () => number;
    readonly stop?: AbortSignal;
  },
): Promise<Service> {
  const { log, now = Date.now, monotonic = options.now ?? performance.now.bind(performance), stop } = options;
  const metrics = createMetrics(version);
  const events = createEvents(log, metrics);

  // Time, the certificate, the journal, and what this node keeps of it in memory.
  const wall = createWall({ now, monotonic, events: events.clock });
  const certificate = createCertificate(settings, { wall, events: events.tls });
  const revocations_ms = longestCredential_ms(settings);
  const clocks = { now: wall.believed_ms, monotonic: wall.elapsed_ms };
  const journal =
    settings.journal.kind === "memory"
      ? createMemoryJournal(settings, clocks)
      : await openSqliteJournal(settings.journal.path, settings, {
          ...clocks,
          revocations_ms,
          events: events.journal,
          stop,
        });
  const clock = createClock(wall, journal);
  const window = createWindow(settings, journal.history, journal.uptime_ms);
  const held = createHeld(settings, { journal, events: events.journal, now: clock.believed_ms });
  const revocations = createRevocations({ keep_ms: revocations_ms, clock }, journal.history.revocations);

  // Who may come in, and how often.
  const gate = createGate(settings, { events: events.requests, now: clock.uptime_ms });
  const clients = createClients(settings, events.requests);
  const [signing = journal.history.tokenSecret, ...others] = settings.token_secret;
  const secrets = [signing, ...others] as const;
  const tokens = createTokens({ secrets, ttl_seconds: settings.token_ttl_seconds, clock });
  const access = createAccess(settings, { secrets, revocations, now: clock.believed_ms });
  const realms = createRealms(settings, { events: events.access, clock });
  const authorize = createAuthorize({ access, tokens, revocations, realms, gate, events: events.access });

  // Who is connected, and how entries of the journal reach them.
  const registry = createRegistry<Connection>();
  const members = createMembers(registry, events.connections);
  const confirmation = createConfirmation({ window, held, registry });
  const backlog = createBacklog(settings, { registry, members, events: events.connections });
  const fanout = createFanout({ registry, members, backlog, confirmation });
  const beat = createBeat(settings, { window, fanout });
  const expiry = createExpiry(settings, { clock, registry, members });
  const pacing = createPacing(settings, members);
  const delivery = createDelivery({
    journal,
    window,
    held,
    revocations,
    access,
    registry,
    members,
    backlog,
    fanout,
    beat,
    expiry,
    pacing,
    clock,
  });
  journal.follow(delivery);

  // What comes from outside.
  const sessions = createSessions(settings, events.requests);
  const admission = createAdmission({ access, tokens });
  const recovery = createRecovery(settings, window);
  const gateway = createGateway(settings, {
    admission,
    access,
    recovery,
    held,
    registry,
    members,
    backlog,
    fanout,
    sessions,
    gate,
    clients,
    expiry,
    events: events.connections,
    clock,
  });
  const revoker = createRevoker({ delivery, journal, events: events.access, clock });
  const logout = createLogout(settings, { realms, revoker, events: events.access, clock });
  const notify = createNotify(settings, { access, gate, journal, events: events.journal });
  const cors = createCors(settings);
  const owners = createOwners();
  const ending = createEnding(settings, events.requests);
  const { unfinished } = ending;
  const descriptors = createDescriptors(settings, { owners, unfinished, sessions, events });
  const table = createRoutes(settings, {
    access,
    gate,
    authorize,
    notify,
    logout,
    revoker,
    registry,
    journal,
    realms,
    clock,
    descriptors,
    metrics,
  });
  const router = createRouter(settings, { gate, cors, ending });
  const engine = createEngineRoute(settings, { gateway, gate, sessions, descriptors, cors });
  const answers = createAnswers(settings, {
    table,
    router,
    engine,
    gate,
    clients,
    owners,
    ending,
    cors,
    events: events.requests,
  });
  const connected = { registry, members, backlog, sessions, unfinished };
  const lasting = { journal, window, held, revocations, certificate };
  registerGauges(metrics, { ...connected, ...lasting, revoker, logout, realms, clock });

  let server: Listeners;
  try {
    server = openListeners(settings, { answers, gateway, owners, certificate, events });
  } catch (error) {
    await journal.close();
    throw error;
  }
  fanout.attach(server);
  descriptors.attach(server);
  realms?.start();
  const tidying = [delivery.tidy, certificate.tidy].map((tidy) => setInterval(tidy, tidy_ms));

  return {
    url: server.url.origin + settings.base_path,
    reload(given) {
      access.reload(given);
      server.renew(given);
      return delivery.endForbidden();
    },
    async stop() {
      gate.close();
      // What waits for a slow body, or for Keycloak, is told at once. A request that comes whole is served for as long as there
      // is a listener.
      ending.cut();
      realms?.stop();
      pacing.stop();
      await drainPolling(members);
      const empty = server.stop(false);
      // What has reached the journal is finished, and nothing else.
      await router.end();
      logout.stop();
      const isSaved = await revoker.stop();
      clock.stop();
      // Free for the successor at once: our connections catch up there, one by one.
      await journal.close();
      await drain(settings, { members, journal });
      gateway.closeAll();
      beat.stop();
      await farewell(server, empty);
      await server.stop(true);
      descriptors.stop();
      metrics.stop();
      for (const timer of tidying) clearInterval(timer);
      return isSaved;
    },
  };
}
