import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { stampReserve, type ClockState, type Keeper } from "../clock/clock.ts";
import { createElapsed } from "../clock/elapsed.ts";

export const StoredRealms = v.record(v.string(), v.number());

/** What is kept of the clock, as it was when the file was opened. */
export interface StoredClock extends ClockState {
  readonly uptime_ms: number;
}

interface Row {
  wall_ms: number;
  uptime_ms: number;
  stamp: number;
  realms: string;
}

const keepEvery_ms = 10_000;

/** Goes on from where the last process stopped, and reserves stamps for this one. In the transaction of the caller. */
export function beginClock(db: Database, now_ms: number): StoredClock {
  const stored = db.query<Row, []>("SELECT wall_ms, uptime_ms, stamp, realms FROM state").get();
  if (stored === null) throw new Error("the journal has no state");
  const newest = db
    .query<{ uptime_ms: number }, []>("SELECT uptime_ms FROM entries ORDER BY sequence DESC LIMIT 1")
    .get();
  // At least the wall clock: a journal that was lost, and whose tokens live on by a `token_secret`, was likely below it.
  const stamp = Math.max(stored.stamp, Math.floor(now_ms));
  db.run("UPDATE state SET stamp = ?", [stamp + stampReserve]);
  return {
    wall_ms: stored.wall_ms,
    // An entry may be newer than what was last written of the clock.
    uptime_ms: Math.max(stored.uptime_ms, newest?.uptime_ms ?? 0),
    stamp,
    realms: v.parse(StoredRealms, JSON.parse(stored.realms)),
  };
}

export interface SqliteClock extends Pick<Keeper, "uptime_ms" | "keep"> {
  /** Writes down service time if that was long ago. In the transaction of the caller. */
  tidy(): void;
  /** Writes it down. In the transaction of the caller. */
  keepUptime(): void;
}

/** @param soon lets a write wait for the next transaction. */
export function createSqliteClock(
  db: Database,
  began: StoredClock,
  needs: { readonly now: () => number; readonly monotonic: () => number; readonly soon: (write: () => void) => void },
): SqliteClock {
  const { now, monotonic, soon } = needs;
  const elapsed_ms = createElapsed(monotonic);
  const uptime_ms = (): number => began.uptime_ms + elapsed_ms();
  let keptAt_ms = -Infinity;

  function keepUptime(): void {
    keptAt_ms = uptime_ms();
    db.run("UPDATE state SET wall_ms = ?, uptime_ms = ?", [Math.floor(now()), keptAt_ms]);
  }

  return {
    uptime_ms,
    keep({ stamp, realms }) {
      soon(() => db.run("UPDATE state SET stamp = ?, realms = ?", [stamp, JSON.stringify(realms)]));
    },
    tidy() {
      if (uptime_ms() - keptAt_ms >= keepEvery_ms) keepUptime();
    },
    keepUptime,
  };
}
