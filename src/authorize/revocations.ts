import type { KeycloakId } from "../model/names.ts";

export interface Revocations {
  /** Everything issued to this user up to this time is dead. */
  revoke(user: KeycloakId, before_ms: number): void;
  isRevoked(user: KeycloakId, issuedAt_ms: number): boolean;
  readonly size: number;
}

/** Who was thrown out, and up to when. An entry is kept until the last token that it concerns has expired by itself. */
export function createRevocations(options: { keep_ms: number; now: () => number }): Revocations {
  const { keep_ms, now } = options;
  /** In the order of revocation, because a repeated one is moved to the end: the oldest are the first. */
  const revokedBefore = new Map<KeycloakId, number>();

  function revoke(user: KeycloakId, before_ms: number): void {
    const before = Math.max(before_ms, revokedBefore.get(user) ?? 0);
    revokedBefore.delete(user);
    revokedBefore.set(user, before);
    for (const [oldest, time] of revokedBefore) {
      if (time + keep_ms > now()) break;
      revokedBefore.delete(oldest);
    }
  }

  function isRevoked(user: KeycloakId, issuedAt_ms: number): boolean {
    const before = revokedBefore.get(user);
    return before !== undefined && issuedAt_ms <= before;
  }

  return {
    revoke,
    isRevoked,
    get size() {
      return revokedBefore.size;
    },
  };
}
