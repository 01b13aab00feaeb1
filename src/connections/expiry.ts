import type { Clock } from "../clock/clock.ts";
import type { Settings } from "../settings/schema.ts";
import type { Connection } from "./connection.ts";
import type { Members } from "./members.ts";
import type { Registry } from "./registry.ts";

/** Ends connections when their tokens expire. */
export interface Expiry {
  /** Begins to wait for the end of a connection's token. Returns what stops it. */
  arm(connection: Connection): () => void;
  /** Looks at all connections half a heartbeat after a step of the wall clock. */
  tidy(): void;
}

const longestTimer_ms = 2 ** 31 - 1;

export function createExpiry(
  { ping_interval_ms }: Pick<Settings, "ping_interval_ms">,
  needs: {
    readonly clock: Pick<Clock, "now" | "uptime_ms" | "steps">;
    readonly registry: Registry<Connection>;
    readonly members: Members;
  },
): Expiry {
  const { clock, registry, members } = needs;
  let steps = clock.steps();
  let due_ms = Infinity;

  function restOf_ms({ expiresAt_ms, expiresAt_uptime_ms }: Connection): number {
    return Math.min(expiresAt_ms - clock.now(), expiresAt_uptime_ms - clock.uptime_ms());
  }

  function arm(connection: Connection): () => void {
    let timer: Timer | undefined;
    const start = (): void => {
      const rest_ms = restOf_ms(connection);
      if (rest_ms <= 0) return members.close(connection, "token_expired");
      // setTimeout takes 31 bits, and fires at once for more.
      timer = setTimeout(start, Math.min(rest_ms, longestTimer_ms));
    };
    start();
    return () => clearTimeout(timer);
  }

  /**
   * Timers stand still while a machine is suspended, and know nothing of a clock that is set. Not at once: a wrong time that
   * lasts for seconds must not end the connections of everybody.
   */
  function tidy(): void {
    if (steps !== clock.steps()) [steps, due_ms] = [clock.steps(), clock.uptime_ms() + ping_interval_ms / 2];
    if (clock.uptime_ms() < due_ms) return;
    due_ms = Infinity;
    const ended = registry
      .all()
      .filter((connection) => restOf_ms(connection) <= 0)
      .toArray();
    for (const connection of ended) members.close(connection, "token_expired");
  }

  return { arm, tidy };
}
