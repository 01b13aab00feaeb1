import { createBeat } from "../connections/beat.ts";
import { createConfirmation } from "../connections/confirmation.ts";
import type { Connection } from "../connections/connection.ts";
import { drain, drainPolling } from "../connections/drain.ts";
import { createFanout, type Fanout } from "../connections/fanout.ts";
import { createGateway, type Gateway } from "../connections/gateway.ts";
import type { ClientLimits } from "../connections/packets.ts";
import { createRecovery } from "../connections/recovery.ts";
import { createRegistry, type Registry } from "../connections/registry.ts";
import { createSessions, type Sessions } from "../connections/sessions.ts";
import { createCounts } from "../limits/counts.ts";
import type { Entry, Outcome, Revoked } from "../model/entry.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { Access } from "./access.ts";
import type { Limits } from "./limits.ts";
import type { Store } from "./store.ts";

/** Everybody who is connected to this node. */
export interface Connections {
  readonly registry: Registry<Connection>;
  readonly fanout: Fanout;
  readonly gateway: Gateway;
  readonly sessions: Sessions;
  /** Hands an entry of the journal to the connections that it is for, in the step in which it came. */
  readonly follow: (entry: Entry) => Outcome;
  /** Ends those of a revocation that is in force, and tells how many. */
  end(revoked: Revoked): number;
  /** The same for whatever was taken from the settings. */
  endRevoked(): number;
  /** Ends what cannot live without a listener. */
  drainPolling(): Promise<void>;
  /** Ends all, evenly over `drain_seconds`. */
  drain(): Promise<void>;
  stop(): void;
}

export function createConnections(
  settings: Settings,
  options: {
    events: Events;
    now: () => number;
    store: Store;
    access: Access;
    limits: Limits;
    publish: (topic: string, frame: string) => number;
  },
): Connections {
  const { events, now, access, publish } = options;
  const { gate, clientOf } = options.limits;
  const { window, held } = options.store;
  const registry = createRegistry<Connection>();
  const fanout = createFanout({
    registry,
    publish,
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
  const sessions = createSessions({
    limits: {
      total: settings.max_connections,
      perAddress: settings.max_connections_per_address,
      unauthenticated: settings.max_unauthenticated,
      unauthenticatedPerAddress: settings.max_unauthenticated_per_address,
    },
    createCounts,
    onLimited: events.limited,
  });
  const gateway = createGateway({
    admit: access.admit,
    endingOf: access.endingOf,
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
    sessions,
    addressOf: (req, server) => clientOf(req, server).key,
    limits: {
      connectionsPerUser: settings.max_connections_per_user,
      connectTimeout_ms: settings.connect_timeout_ms,
      pingInterval_ms: settings.ping_interval_ms,
      pingTimeout_ms: settings.ping_timeout_ms,
      client: clientLimits(settings),
    },
    now,
    on: {
      ...events.connections,
      refused(code, address) {
        events.connections.refused(code);
        if (code === "token_invalid") gate.failed({ key: address });
      },
    },
  });

  function follow(entry: Entry): Outcome {
    window.add(entry);
    beat.moved(entry);
    if (entry.kind === "notification") {
      if (entry.ttl_seconds > 0) held.add(entry);
      return fanout.deliver(entry);
    }
    access.revocations.add(entry, entry.time_ms);
    return { connections: end(entry), offline: [] };
  }

  function end(revoked: Revoked): number {
    const all = revoked.user === undefined ? registry.ofSession(revoked.session) : registry.ofUser(revoked.user);
    return endThose(all);
  }

  function endThose(candidates: Iterable<Connection>): number {
    // Picked first: to close one changes the registry.
    const ended = Array.from(candidates).flatMap((connection) => {
      const code = access.endingOf(connection);
      return code === undefined ? [] : [{ connection, code }];
    });
    for (const { connection, code } of ended) gateway.close(connection, code);
    return ended.length;
  }

  const { close } = gateway;
  return {
    registry,
    fanout,
    gateway,
    sessions,
    follow,
    end,
    endRevoked: () => endThose(registry.all()),
    drainPolling: () => drainPolling({ registry, close }),
    drain: () => drain({ registry, close, seconds: settings.drain_seconds }),
    stop() {
      gateway.closeAll();
      beat.stop();
    },
  };
}

export function clientLimits(settings: Settings): ClientLimits {
  return { messages: settings.max_client_messages, bytes: settings.max_client_bytes };
}
