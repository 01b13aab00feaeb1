import http from "node:http";
import type { BunWebSocket } from "../connections/connection.ts";
import type { Gateway, SocketData } from "../connections/gateway.ts";
import type { ClientLimits } from "../connections/packets.ts";
import type { Events } from "../observe/events.ts";
import type { Settings } from "../settings/schema.ts";
import type { TlsFiles } from "../tls/files.ts";
import type { Answers } from "./answer.ts";
import { widenAcceptQueue } from "./accept-queue.ts";
import { limitControlFrames } from "./control-frames.ts";
import type { Listener } from "./exchange.ts";
import { largestHead_bytes, type HeadLimits } from "./head.ts";
import type { Owners } from "./owners.ts";
import { idle_seconds } from "./persistence.ts";
import { problem } from "./respond.ts";

export type ListenSettings = ClientLimits &
  HeadLimits &
  Pick<Settings, "host" | "port" | "ping_interval_ms" | "ping_timeout_ms" | "backlog_bytes">;

/**
 * Of TLS 1.2, whose defaults also have RSA key exchange, by which a key that is stolen later opens what was recorded, and CBC.
 * (TLS 1.3 has its own, which are all of this kind.)
 */
const ciphers = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]
  .flatMap((cipher) => [`ECDHE-ECDSA-${cipher}`, `ECDHE-RSA-${cipher}`])
  .join(":");

/** The longest that Bun takes, which it keeps in units of four seconds in one byte. */
const longestSilence_seconds = 960;

/**
 * Fan-out closes who lags by more than `backlog_bytes`, at the next notification that finds him so. Bun itself, which closes
 * one turn after it has dropped a frame, must not be the first: it queues up to 31 frames below 16 KiB before it looks.
 */
const backlogReserve_bytes = 32 * 16_384;

export interface ListenNeeds {
  readonly answers: Pick<Answers, "routes" | "fetch">;
  readonly gateway: Pick<Gateway, "websocket" | "exceeded">;
  readonly owners: Pick<Owners, "follow" | "attach">;
  readonly events: Pick<Events["requests"], "crashed" | "acceptQueueShort" | "acceptQueueUnchanged">;
}

/**
 * The one `Bun.serve`. Throws if it cannot listen.
 *
 * @param options.tls undefined: plain HTTP.
 * @param options.reusePort beside another socket on this port: see `openBeside`.
 */
export function listen(
  settings: ListenSettings,
  needs: ListenNeeds,
  { tls, reusePort = false }: { readonly tls?: TlsFiles | undefined; readonly reusePort?: boolean } = {},
): Listener {
  const { host, port, ping_interval_ms, ping_timeout_ms, max_client_messages } = settings;
  const { answers, gateway, owners, events } = needs;
  /** A websocket from which nothing came for so long is cut. */
  const silence_ms = ping_interval_ms + ping_timeout_ms;
  // Bun.serve has no option of its own for it, but goes by what node:http says at the time of a request.
  Object.assign(http, { maxHeaderSize: largestHead_bytes(settings) });
  const server = Bun.serve<SocketData>({
    hostname: host,
    port,
    reusePort,
    ...(tls === undefined ? {} : { tls: { cert: tls.cert, key: tls.key, ciphers } }),
    idleTimeout: idle_seconds,
    // Never met: bodies are measured where they are read, so that the answer is one of ours and not Bun's bare 413.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes: answers.routes,
    fetch: answers.fetch,
    error(error) {
      events.crashed(error);
      return problem(error);
    },
    websocket: {
      ...owners.follow(gateway.websocket),
      ...limitControlFrames({
        most: max_client_messages,
        interval_ms: silence_ms,
        onExceeded: (ws: BunWebSocket) => gateway.exceeded(ws, "max_client_messages"),
      }),
      // The engine's heartbeats find dead peers; this cuts what is left of one that does not even close.
      idleTimeout: Math.min(longestSilence_seconds, Math.ceil(silence_ms / 1000) + idle_seconds),
      sendPings: false,
      // The engine ignores the result of `send`: a reader that stalls is closed, and comes back, instead of missing something.
      backpressureLimit: settings.backlog_bytes + backlogReserve_bytes,
      closeOnBackpressureLimit: true,
    },
  });
  owners.attach(server);
  widenAcceptQueue(server, events);
  return server;
}
