interface Counted {
  count: number;
  since_ms: number;
}

interface Closable {
  close(code?: number, reason?: string): void;
  terminate(): void;
  getBufferedAmount(): number;
}

/**
 * Bun answers pings by itself, and drops pongs, at next to no cost: what is left is somebody who keeps a connection busy
 * with them for nothing. No client of ours sends any: browsers cannot, and Socket.IO has heartbeats of its own.
 */
export function limitControlFrames<Socket extends Closable>(options: {
  readonly most: number;
  readonly interval_ms: number;
  /** The connection is closed for it. */
  readonly onExceeded: (ws: Socket) => void;
}): { ping: (ws: Socket) => void; pong: (ws: Socket) => void } {
  const { most, interval_ms, onExceeded } = options;
  /** Only of those that send some: others cost nothing. */
  const talkers = new WeakMap<Socket, Counted>();

  function count(ws: Socket): void {
    const now_ms = performance.now();
    const counted = talkers.get(ws);
    if (counted === undefined || now_ms - counted.since_ms > interval_ms) {
      talkers.set(ws, { count: 1, since_ms: now_ms });
    } else if (++counted.count > most) {
      onExceeded(ws);
      // Bun keeps what it was not sent until the client answers a close frame, up to 17 s.
      if (ws.getBufferedAmount() > 0) ws.terminate();
      // RFC 6455 7.4.1: 1008, a message that violates the policy.
      else ws.close(1008, "too many control frames");
    }
  }

  return { ping: count, pong: count };
}
