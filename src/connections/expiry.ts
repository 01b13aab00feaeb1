import type { Connection } from "./connection.ts";

const longestTimer_ms = 2 ** 31 - 1;

/** Calls `expire` when the token of a connection does. */
export function armExpiry(
  connection: Connection,
  now: () => number,
  expire: (connection: Connection) => void,
): { start: () => void; stop: () => void } {
  let timer: Timer | undefined;
  const start = (): void => {
    const rest_ms = connection.expiresAt_ms - now();
    if (rest_ms <= 0) return expire(connection);
    // setTimeout takes 31 bits, and fires at once for more.
    timer = setTimeout(start, Math.min(rest_ms, longestTimer_ms));
  };
  return { start, stop: () => clearTimeout(timer) };
}
