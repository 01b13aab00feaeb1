import http from "node:http";
import { limitControlFrames } from "./control-frames.ts";
import { problem } from "./respond.ts";

export interface ListenOptions<Socket> {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Paths of PEM files. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly answer: (req: Request, server: Bun.Server<Socket>) => Promise<Response>;
  readonly websocket: Pick<Bun.WebSocketHandler<Socket>, "open" | "message" | "close" | "maxPayloadLength">;
  /** A websocket from which nothing came for so long is cut. */
  readonly silence_ms: number;
  readonly backlogBytes: number;
  /** The longest head of a request, its first line included; more is a bare 431 of Bun's. */
  readonly maxHeaderBytes: number;
  /** How many pings and pongs a websocket may send within `silence_ms`. */
  readonly maxControlFrames: number;
  readonly onControlFlood: () => void;
  /** Something that was not foreseen: a bug. */
  readonly onCrash: (error: unknown) => void;
}

/** A request has to be there within this time, in steps of four seconds, however it drips. (For its head Bun has 10 s of its own.) */
const idle_seconds = 10;
/** The longest that Bun takes, which it keeps in units of four seconds in one byte. */
const longestSilence_seconds = 960;

/**
 * Fan-out closes who lags by more than `backlogBytes`, at the next notification that finds him so. Bun itself, which closes
 * one turn after it has dropped a frame, must not be the first: it queues up to 31 frames below 16 KiB before it looks.
 */
const backlogReserveBytes = 32 * 16_384;

/** The one `Bun.serve`. Throws if it cannot listen. */
export function listen<Socket>(options: ListenOptions<Socket>): Bun.Server<Socket> {
  const { host, port, tls, answer, websocket, silence_ms, backlogBytes, onCrash } = options;
  // Bun.serve has no option of its own for it, but goes by what node:http says at the time of a request.
  Object.assign(http, { maxHeaderSize: options.maxHeaderBytes });
  return Bun.serve<Socket>({
    hostname: host,
    port,
    ...(tls && { tls: { cert: Bun.file(tls.cert), key: Bun.file(tls.key) } }),
    idleTimeout: idle_seconds,
    // Never met: bodies are measured where they are read, so that the answer is one of ours and not Bun's bare 413.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: answer,
    error(error) {
      onCrash(error);
      return problem(error);
    },
    websocket: {
      ...websocket,
      ...limitControlFrames({
        most: options.maxControlFrames,
        interval_ms: silence_ms,
        onExceeded: options.onControlFlood,
      }),
      // The engine's heartbeats find dead peers; this cuts what is left of one that does not even close.
      idleTimeout: Math.min(longestSilence_seconds, Math.ceil(silence_ms / 1000) + idle_seconds),
      sendPings: false,
      // The engine ignores the result of `send`: a reader that stalls is closed, and comes back, instead of missing something.
      backpressureLimit: backlogBytes + backlogReserveBytes,
      closeOnBackpressureLimit: true,
    },
  });
}
