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
  saw(issuer: string, issuedAt_ms: number, life_ms?: number): void;
  /** What the realm's clock showed at a moment, at least. Undefined: no token of the realm was ever seen. */
  atLeast_ms(issuer: string, moment: Moment): number | undefined;
  /** What the realms' clocks showed at a moment, at most as far as can be told: no token that was issued before is later. */
  atMost_ms(moment: Moment): Readonly<Record<string, number>>;
  /** Realm time minus service time, at least; by issuer. */
  readonly offsets: Readonly<Record<string, number>>;
}

/**
 * Two tokens of different moments that were as old as each other when they came were new: old ones are of any age. (Those of one
 * login, which are of about the same moment, are always as old as each other.)
 */
const agreement_ms = 2000;
/** Our clock goes with a realm's if it is ahead of the newest token by no more than clocks differ, and new tokens take to come. */
const fresh_ms = 5000;
/** So old the newest token may have been, where it lives no longer: by that much Keycloak's default. */
const lifespan_ms = 300_000;
/** Clocks are rounded. */
const rounding_ms = 100;
/** Keycloak's `iat` has whole seconds: its clock may already have been this far beyond. */
const restOfSecond_ms = 999;
/** After so long, a realm's clock that was ahead once, and was set right, is forgotten. */
const renewal_ms = 60 * 60_000;

interface Known {
  /** Realm time minus service time, at least: the largest of the renewal before, and of this one. */
  before: number;
  current: number;
  since_ms: number;
  /** The `iat` of the token that told the largest; undefined: it came in a life before. */
  toldBy_ms: number | undefined;
  /**
   * So far the realm's clock may be beyond it: as long as tokens live. Infinity: as far as ours says, because it went on while
   * the service was stopped, and no token has come since.
   */
  life_ms: number;
  /** Another token has told the same. */
  isSure: boolean;
}

export function createRealmClocks(stored: Readonly<Record<string, number>>, uptime_ms: () => number): RealmClocks {
  const known = new Map<string, Known>(
    Object.entries(stored).map(([issuer, offset]) => [issuer, begin(offset, undefined, Infinity)]),
  );

  function begin(offset: number, toldBy_ms: number | undefined, life_ms: number): Known {
    return { before: -Infinity, current: offset, since_ms: uptime_ms(), toldBy_ms, life_ms, isSure: false };
  }

  function saw(issuer: string, issuedAt_ms: number, lives_ms = lifespan_ms): void {
    const life_ms = Math.max(lifespan_ms, lives_ms);
    const offset = issuedAt_ms - uptime_ms();
    const realm = known.get(issuer);
    if (realm === undefined) return void known.set(issuer, begin(offset, issuedAt_ms, life_ms));
    const beyond_ms = offset - offsetOf(realm);
    const { toldBy_ms = issuedAt_ms } = realm;
    if (beyond_ms > agreement_ms) realm.isSure = false;
    else if (beyond_ms >= -agreement_ms) {
      if (Math.abs(issuedAt_ms - toldBy_ms) > agreement_ms) realm.isSure = true;
      realm.toldBy_ms = toldBy_ms;
    }
    if (beyond_ms > 0) realm.toldBy_ms = issuedAt_ms;
    // From here on it is known how far the realm's clock has gone on while nobody was here.
    realm.life_ms = realm.life_ms === Infinity ? life_ms : Math.max(realm.life_ms, life_ms);
    if (uptime_ms() - realm.since_ms >= renewal_ms) {
      Object.assign(realm, { before: realm.current, current: offset, since_ms: uptime_ms(), isSure: false });
    } else {
      realm.current = Math.max(realm.current, offset);
    }
  }

  function atMost(realm: Known, { wall_ms, believed_ms, uptime_ms: at_ms }: Moment): number {
    const least_ms = offsetOf(realm) + at_ms;
    const margin_ms = realm.isSure ? fresh_ms : realm.life_ms;
    // Ours says it to the millisecond, where it goes with the realm's.
    const ours_ms = [believed_ms, wall_ms].find(
      (time_ms) => time_ms >= least_ms - rounding_ms && time_ms <= least_ms + margin_ms,
    );
    return Math.max(least_ms, ours_ms ?? least_ms + restOfSecond_ms);
  }

  const byIssuer = (tell: (realm: Known) => number) =>
    Object.fromEntries(Array.from(known, ([issuer, realm]) => [issuer, tell(realm)]));

  return {
    saw,
    atLeast_ms(issuer, moment) {
      const realm = known.get(issuer);
      return realm && offsetOf(realm) + moment.uptime_ms;
    },
    atMost_ms: (moment) => byIssuer((realm) => atMost(realm, moment)),
    get offsets() {
      return byIssuer(offsetOf);
    },
  };
}

function offsetOf({ before, current }: Known): number {
  return Math.max(before, current);
}
