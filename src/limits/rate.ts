export interface RateLimitOptions {
  /** May be a fraction: 100 a minute are 100 / 60. */
  readonly rate_per_second: number;
  /** How many may come at once after a pause; at least 1. */
  readonly burst: number;
  /** So many keys are kept at most, whoever brings them. */
  readonly mostKeys: number;
  readonly now: () => number;
}

export interface RateLimit {
  /** 0: go on, and one is taken. Otherwise nothing is taken, and it is worth trying again after so many whole seconds. */
  take(key: string): number;
  /** Keys in memory. */
  readonly size: number;
}

interface Bucket {
  readonly key: string;
  /** The moment at which it is full again. */
  full: number;
  /** Where in the ring it is. */
  place: number;
}

/** Among so many buckets the one is chosen that makes way for a new one. */
const candidates = 8;
/** Far below what counts as one, above what sums of fractions are off by. */
const rounding = 1e-6;

/**
 * A token bucket for each key, as GCRA (ITU-T I.371) keeps it: one number, the moment at which it is full again. Moments are
 * counted in tokens, at whose rate all buckets fill, so that taking one moves that moment by exactly 1.
 */
export function createRateLimit({ rate_per_second, burst, mostKeys, now }: RateLimitOptions): RateLimit {
  const byKey = new Map<string, Bucket>();
  // A hand goes round it. Not the Map's own order: to come to its first entry, all that was deleted before it is passed anew.
  const ring: Bucket[] = [];
  let hand = 0;
  let elapsed_ms = 0;
  let last_ms = now();

  /** Only ever forward: a clock that is set back by an hour must not make anybody wait for an hour. */
  function moment(): number {
    const now_ms = now();
    elapsed_ms += Math.max(0, now_ms - last_ms);
    last_ms = now_ms;
    return (elapsed_ms / 1000) * rate_per_second;
  }

  function wait_seconds(bucket: Bucket | undefined, at: number): number {
    const missing = Math.max(0, (bucket?.full ?? at) - at);
    const excess = missing + 1 - burst - rounding;
    return excess <= 0 ? 0 : Math.ceil(excess / rate_per_second);
  }

  function take(key: string): number {
    const at = moment();
    tidy(at);
    const known = byKey.get(key);
    const wait = wait_seconds(known, at);
    if (known === undefined) add(key, at + 1);
    else if (wait === 0) known.full = Math.max(at, known.full) + 1;
    return wait;
  }

  function add(key: string, full: number): void {
    if (ring.length >= mostKeys) makeRoom();
    const bucket = { key, full, place: ring.length };
    ring.push(bucket);
    byKey.set(key, bucket);
  }

  /** A full bucket is as good as none. Two are looked at each time: what a flood has left is gone soon after it. */
  function tidy(at: number): void {
    for (const bucket of next(2)) if (bucket.full <= at) forget(bucket);
  }

  /** The next ones of the ring, each once. */
  function next(count: number): Bucket[] {
    const start = hand < ring.length ? hand : 0;
    const found = ring.slice(start, start + count);
    const more = Math.min(start, count - found.length);
    if (more > 0) found.push(...ring.slice(0, more));
    hand = start + count < ring.length ? start + count : more;
    return found;
  }

  /**
   * Whoever has many addresses (an IPv6 /48 has 65,536 networks) could push the key that is being limited out of the memory,
   * to find a fresh bucket afterwards. So the one of which least was taken makes way, which loses next to nothing: one of the
   * flood's own. To make us forget one that is limited, about all the others have to be limited, too.
   */
  function makeRoom(): void {
    const [first, ...others] = next(candidates);
    if (first === undefined) return;
    forget(others.reduce((least, bucket) => (bucket.full < least.full ? bucket : least), first));
  }

  function forget(bucket: Bucket): void {
    const last = ring.pop();
    if (last !== undefined && last !== bucket) {
      last.place = bucket.place;
      ring[bucket.place] = last;
    }
    byKey.delete(bucket.key);
  }

  return {
    take,
    get size() {
      return ring.length;
    },
  };
}
