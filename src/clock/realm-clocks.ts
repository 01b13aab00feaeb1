/** One moment, in every order of events that we know. */
export interface Moment {
  /** All that we issued before has a smaller stamp, all that we issue later has a larger one. */
  readonly stamp: number;
  readonly wall_ms: number;
  /** See `Wall.believed_ms`. */
  readonly believed_ms: number;
  readonly uptime_ms: number;
}

/**
 * What is known of the clocks of the Keycloak realms. Keycloak answers without a `Date`, so its tokens are all that tells:
 * when a token arrives, its realm's clock stands at its `iat` at least, and goes on from there as service time does.
 */
export interface RealmClocks {
  /** A token of this realm, with a good signature, was issued then by the realm's clock. */
  saw(issuer: string, issuedAt_ms: number): void;
  /** What the realm's clock showed at a moment, at least. Undefined: no token of the realm was ever seen. */
  atLeast_ms(issuer: string, moment: Moment): number | undefined;
  /** What the realms' clocks showed at a moment, at most as far as can be told: no token that was issued before is later. */
  atMost_ms(moment: Moment): Readonly<Record<string, number>>;
  /** Realm time minus service time, at least; by issuer. */
  readonly offsets: Readonly<Record<string, number>>;
}

/** So long the newest token that a busy realm sends is on its way, and clocks that are set by NTP may differ. */
const fresh_ms = 5000;
/** Clocks are rounded. */
const rounding_ms = 100;
/** Keycloak's `iat` has whole seconds: its clock may already have been this far beyond. */
const restOfSecond_ms = 999;
/** After so long, a realm's clock that was ahead once, and was set right, is forgotten. */
const renewal_ms = 60 * 60_000;

interface Offsets {
  since_ms: number;
  before: number;
  current: number;
}

export function createRealmClocks(stored: Readonly<Record<string, number>>, uptime_ms: () => number): RealmClocks {
  const byIssuer = new Map<string, Offsets>(
    Object.entries(stored).map(([issuer, offset]) => [
      issuer,
      { since_ms: uptime_ms(), before: -Infinity, current: offset },
    ]),
  );
  const offsetOf = ({ before, current }: Offsets): number => Math.max(before, current);

  function saw(issuer: string, issuedAt_ms: number): void {
    const at_ms = uptime_ms();
    const offset = issuedAt_ms - at_ms;
    const known = byIssuer.get(issuer);
    if (known === undefined) {
      byIssuer.set(issuer, { since_ms: at_ms, before: -Infinity, current: offset });
    } else if (at_ms - known.since_ms >= renewal_ms) {
      byIssuer.set(issuer, { since_ms: at_ms, before: known.current, current: offset });
    } else {
      known.current = Math.max(known.current, offset);
    }
  }

  function atMost(offset: number, { wall_ms, believed_ms, uptime_ms: at_ms }: Moment): number {
    const least_ms = offset + at_ms;
    // Ours says it to the millisecond, where it goes with the realm's.
    const ours_ms = [believed_ms, wall_ms].find(
      (time_ms) => time_ms >= least_ms - rounding_ms && time_ms <= least_ms + fresh_ms,
    );
    return Math.max(least_ms, ours_ms ?? least_ms + restOfSecond_ms);
  }

  return {
    saw,
    atLeast_ms(issuer, moment) {
      const known = byIssuer.get(issuer);
      return known && offsetOf(known) + moment.uptime_ms;
    },
    atMost_ms: (moment) =>
      Object.fromEntries(Array.from(byIssuer, ([issuer, known]) => [issuer, atMost(offsetOf(known), moment)])),
    get offsets() {
      return Object.fromEntries(Array.from(byIssuer, ([issuer, known]) => [issuer, offsetOf(known)]));
    },
  };
}
