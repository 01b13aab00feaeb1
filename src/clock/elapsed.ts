/** How long a monotonic clock has run since now, in whole milliseconds. Never goes back, whatever the clock does. */
export function createElapsed(monotonic: () => number): () => number {
  let last = monotonic();
  let elapsed_ms = 0;
  return () => {
    const now = monotonic();
    elapsed_ms += Math.max(0, now - last);
    last = now;
    return Math.floor(elapsed_ms);
  };
}
