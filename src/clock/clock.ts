import { createRealmClocks, type Moment, type RealmClocks } from "./realm-clocks.ts";
import type { Wall } from "./wall.ts";

/** What of the clock outlives the process. */
export interface ClockState {
  /** The wall clock when the state was last written; 0: never. */
  readonly wall_ms: number;
  /** No larger stamp was ever given out. In the history of a journal: `stampReserve` more are reserved for this process. */
  readonly stamp: number;
  readonly realms: RealmClocks["offsets"];
}

/** Where it is kept: the journal. */
export interface Keeper {
  readonly history: { readonly clock: ClockState };
  /**
   * Service time: for how long there was a process, in all lives of the journal together. It leaves out the time between two
   * processes, and that of a suspended machine, so nothing is younger than it says; and no wall clock changes it.
   */
  uptime_ms(): number;
  /** Durable soon. */
  keep(state: Pick<ClockState, "stamp" | "realms">): void;
}

/** Time, and the order of what we issue and revoke. */
export interface Clock extends Pick<Wall, "now" | "believed_ms" | "steps" | "health"> {
  uptime_ms(): number;
  /** Larger than every stamp before, in any life of the journal. */
  stamp(): number;
  /** A stamp that came back with our signature: those to come are larger, even if the journal is an older copy. */
  sawStamp(stamp: number): void;
  moment(): Moment;
  readonly realms: RealmClocks;
  /** Writes now and then what has to outlive the process. */
  tidy(): void;
  stop(): void;
}

/** Stamps that may be given out before the next write; half of them are left when it is due. */
export const stampReserve = 1_000_000;
const keepEvery_ms = 10_000;

export function createClock(wall: Wall, keeper: Keeper): Clock {
  const { clock: stored } = keeper.history;
  const uptime_ms = () => keeper.uptime_ms();
  const realms = createRealmClocks(stored.realms, uptime_ms);
  if (stored.wall_ms > 0) wall.compare(stored.wall_ms);
  let last = stored.stamp;
  let reserved = stored.stamp + stampReserve;
  let keptAt_ms = -Infinity;

  function keep(stamp: number): void {
    reserved = stamp;
    keptAt_ms = uptime_ms();
    keeper.keep({ stamp, realms: realms.offsets });
  }

  function advance(to: number): number {
    last = to;
    if (last > reserved - stampReserve / 2) keep(last + stampReserve);
    return last;
  }
  const stamp = (): number => advance(last + 1);

  return {
    now: wall.now,
    believed_ms: wall.believed_ms,
    steps: wall.steps,
    health: wall.health,
    uptime_ms,
    stamp,
    sawStamp(seen) {
      if (seen > last) advance(seen);
    },
    moment: () => ({
      stamp: stamp(),
      wall_ms: wall.now(),
      believed_ms: wall.believed_ms(),
      uptime_ms: uptime_ms(),
    }),
    realms,
    tidy() {
      wall.steps();
      if (uptime_ms() - keptAt_ms >= keepEvery_ms) keep(reserved);
    },
    stop: () => keep(last),
  };
}
