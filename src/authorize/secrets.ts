/** Something configured with a secret of which only the SHA-256 digest (64 hex digits) is kept. */
export interface Hashed {
  readonly name: string;
  readonly sha256: string;
  readonly expires_at?: Date | undefined;
  readonly rate_per_second?: number;
  readonly burst?: number;
}

const longestSecret = 1024;

export interface Secrets<T> {
  find(secret: string): T | undefined;
  /** It is one that was good: who still sends it is not guessing. */
  hasExpired(secret: string): boolean;
}

/**
 * API keys, or WS tokens. Looked up by digest: the time a look-up takes says something about digests, which tell an
 * attacker nothing about secrets, so no comparison has to be constant in time.
 */
export function createSecrets<T extends Hashed>(entries: readonly T[], now: () => number): Secrets<T> {
  const byDigest = new Map(entries.map((entry) => [entry.sha256, entry]));

  function entryOf(secret: string): T | undefined {
    return secret === "" || secret.length > longestSecret ? undefined : byDigest.get(digest(secret));
  }

  const isOver = ({ expires_at }: T) => expires_at !== undefined && expires_at.getTime() <= now();

  return {
    find(secret) {
      const entry = entryOf(secret);
      return entry === undefined || isOver(entry) ? undefined : entry;
    },
    hasExpired(secret) {
      const entry = entryOf(secret);
      return entry !== undefined && isOver(entry);
    },
  };
}

/** Whether a given text is the secret; compared by digest as above. */
export function createSecret(secret: string): (given: string) => boolean {
  const sha256 = digest(secret);
  return (given) => given.length <= longestSecret && digest(given) === sha256;
}

function digest(secret: string): string {
  return Bun.CryptoHasher.hash("sha256", secret, "hex");
}
