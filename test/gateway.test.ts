import { expect, test } from "bun:test";
import type { Connection } from "../src/connections/connection.ts";
import { createFanout } from "../src/connections/fanout.ts";
import { createGateway } from "../src/connections/gateway.ts";
import { createRegistry } from "../src/connections/registry.ts";
import { createSessions } from "../src/connections/sessions.ts";
import { createCounts } from "../src/limits/counts.ts";
import { listen } from "../src/http/listen.ts";
import { Channel, KeycloakId } from "../src/model/names.ts";
import * as v from "valibot";
import { next, page, transports } from "./support/client.ts";

for (const [name, options] of Object.entries(transports)) {
  test(`a revocation between the check of a token and its CONNECT gets through, ${name}`, async () => {
    let revoked = false;
    const registry = createRegistry<Connection>();
    const fanout = createFanout({
      registry,
      publish: (topic, frame) => server.publish(topic, frame),
      backlogBytes: 1_000_000,
      onOverflow() {},
      onHeldWritten() {},
    });
    const gateway = createGateway({
      admit() {
        // It comes when the token has just been found good, and finds no connection to close.
        queueMicrotask(() => (revoked = true));
        const now_ms = Date.now();
        const identity = { user: v.parse(KeycloakId, "alice"), channel: v.parse(Channel, "msf") };
        return {
          ...identity,
          session: null,
          via: null,
          rule: null,
          isBound: true,
          issuedAt_ms: now_ms,
          expiresAt_ms: now_ms + 60_000,
        };
      },
      endingOf: () => (revoked ? "revoked" : undefined),
      resume: () => ({ pid: "p", recovered: false, cause: "first", missed: [], confirmed: undefined, since: 0 }),
      waiting: () => [],
      registry,
      fanout,
      sessions: createSessions({
        limits: { total: 10, perAddress: 10, unauthenticated: 10, unauthenticatedPerAddress: 10 },
        createCounts,
        onLimited() {},
      }),
      addressOf: () => undefined,
      limits: {
        connectionsPerUser: 10,
        connectTimeout_ms: 1000,
        pingInterval_ms: 25_000,
        pingTimeout_ms: 20_000,
        client: { messages: 100, bytes: 65_536 },
      },
      now: Date.now,
      on: { connected() {}, disconnected() {}, refused() {}, closing() {}, dropped() {}, exceeded() {} },
    });
    const server = listen({
      host: "127.0.0.1",
      port: 0,
      tls: undefined,
      answer: gateway.handle,
      websocket: gateway.websocket,
      silence_ms: 45_000,
      backlogBytes: 1_000_000,
      maxHeaderBytes: 16_384,
      maxControlFrames: 100,
      onControlFlood() {},
      onCrash() {},
    });
    const { socket } = page(server.url.origin, {}, options);
    expect(await next(socket, "closing")).toEqual({ code: "revoked", reconnect: false });
    if (socket.connected) await next(socket, "disconnect");
    expect([socket.active, registry.size]).toEqual([false, 0]);
    await server.stop(true);
  });
}
