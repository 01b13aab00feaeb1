import { createClients, type Client } from "../limits/address.ts";
import { createGate, type Gate } from "../limits/gate.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";

/** Who is limited, and by what. */
export interface Limits {
  readonly gate: Gate;
  /** Asked again, it answers the same: a request that has become a websocket has no address any more. */
  readonly clientOf: (req: Request, server: Bun.Server<unknown>) => Client;
}

export function createLimits(settings: Settings, { events, now }: { events: Events; now: () => number }): Limits {
  const gate = createGate({
    authFailuresPerMinute: settings.auth_failures_per_minute,
    authorize: { rate_per_second: settings.authorize_rate_per_second, burst: settings.authorize_burst },
    handshake: { rate_per_second: settings.handshake_rate_per_second, burst: settings.handshake_burst },
    notify: { rate_per_second: settings.notify_rate_per_second, burst: settings.notify_burst },
    now,
    onLimited: events.limited,
  });
  const clients = createClients({ trustProxyHops: settings.trust_proxy_hops, onUntrusted: events.untrustedProxy });
  const known = new WeakMap<Request, Client>();

  return {
    gate,
    clientOf(req, server) {
      const before = known.get(req);
      if (before !== undefined) return before;
      const client = clients.of(server.requestIP(req)?.address ?? "", req.headers);
      known.set(req, client);
      return client;
    },
  };
}
