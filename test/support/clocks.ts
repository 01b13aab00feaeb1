/** Both clocks of a machine, which stand still until they are moved. */
export function createClocks(start_ms = Date.UTC(2026, 0, 1)) {
  let wall_ms = start_ms;
  let monotonic_ms = 0;
  return {
    now: () => wall_ms,
    monotonic: () => monotonic_ms,
    /** Time passes. */
    pass(by_ms: number) {
      wall_ms += by_ms;
      monotonic_ms += by_ms;
    },
    /** Somebody sets the wall clock, or the machine was suspended. */
    step(by_ms: number) {
      wall_ms += by_ms;
    },
  };
}

/** The clocks of this machine, but for steps of the wall clock. */
export function createSteppedClocks() {
  let ahead_ms = 0;
  return {
    now: () => Date.now() + ahead_ms,
    monotonic: () => performance.now(),
    step: (by_ms: number) => void (ahead_ms += by_ms),
  };
}

/** A clock for one room alone, by which time passes as it says. */
export function plainClock(now: () => number) {
  let stamp = 0;
  return {
    now,
    believed_ms: now,
    uptime_ms: now,
    stamp: () => ++stamp,
    sawStamp() {},
    steps: () => 0,
    moment: () => ({ stamp: ++stamp, wall_ms: now(), believed_ms: now(), uptime_ms: now() }),
    realms: { saw() {}, atLeast_ms: () => undefined, atMost_ms: () => ({}), offsets: {} },
  };
}
