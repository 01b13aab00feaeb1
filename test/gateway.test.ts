import { expect, test } from "bun:test";
import * as v from "valibot";
import { createBacklog } from "../src/connections/backlog.ts";
import type { Connection } from "../src/connections/connection.ts";
import { createFanout } from "../src/connections/fanout.ts";
import { createGateway } from "../src/connections/gateway.ts";
import { createMembers } from "../src/connections/members.ts";
import { createRegistry } from "../src/connections/registry.ts";
import { createOwners } from "../src/http/owners.ts";
import { createSessions } from "../src/connections/sessions.ts";
import { listen } from "../src/http/listen.ts";
import { Channel, KeycloakId } from "../src/model/names.ts";
import { createEvents } from "../src/observe/events.ts";
import { createMetrics } from "../src/observe/metrics.ts";
import { next, page, transports } from "./support/client.ts";
import { quietLog, settingsOf } from "./support/service.ts";

for (const [name, options] of Object.entries(transports)) {
  test(`a revocation between the check of a token and its CONNECT gets through, ${name}`, async () => {
    let revoked = false;
    const settings = settingsOf();
    const metrics = createMetrics("test");
    const { connections: events, requests } = createEvents(quietLog, metrics);
    const registry = createRegistry<Connection>();
    const members = createMembers(registry, events);
    const backlog = createBacklog(settings, { registry, members, events });
    const fanout = createFanout({ registry, members, backlog, confirmation: { watch() {} } });
    const gateway = createGateway(settings, {
      admission: {
        admit() {
          // It comes when the token has just been found valid, and finds no connection to close.
          queueMicrotask(() => (revoked = true));
          const now_ms = Date.now();
          return {
            user: v.parse(KeycloakId, "alice"),
            channel: v.parse(Channel, "msf"),
            session: null,
            via: null,
            rule: null,
            isBound: true,
            accessIssuedAt_ms: null,
            stamp: null,
            issuedAt_ms: now_ms,
            expiresAt_ms: now_ms + 60_000,
            expiresAt_uptime_ms: Infinity,
          };
        },
        named: () => ({ keycloakID: undefined, channel: undefined }),
      },
      access: { endingOf: () => (revoked ? "revoked" : undefined) },
      recovery: () => ({
        pid: "p",
        recovered: false,
        isHandedIn: false,
        cause: "first",
        missed: [],
        confirmed: undefined,
        since: 0,
        head: undefined,
      }),
      held: { waiting: () => [], confirm() {} },
      sessions: createSessions(settings, requests),
      gate: { failed() {} },
      clients: { of: () => ({ address: "", key: undefined }) },
      expiry: { arm: () => () => {} },
      clock: { now: Date.now },
      backlog,
      registry,
      members,
      fanout,
      events,
    });
    const answers = { routes: {}, fetch: gateway.handle };
    const server = listen(settings, { answers, gateway, owners: createOwners(), events: { ...requests, ...events } });
    const { socket } = page(server.url.origin, {}, options);
    expect(await next(socket, "closing")).toEqual({ code: "revoked", reconnect: false });
    if (socket.connected) await next(socket, "disconnect");
    expect([socket.active, registry.size]).toEqual([false, 0]);
    await server.stop(true);
    metrics.stop();
  });
}
