import type { RevocationEntry, Revoked } from "../model/entry.ts";
import type { Credential } from "../model/grant.ts";
import type { KeycloakId, SessionId } from "../model/names.ts";

/** Who was thrown out. */
export interface Revocations {
  /** @param at_ms when it was revoked; from then on it counts for as long as a credential could live. */
  add(revoked: Revoked, at_ms: number): void;
  isRevoked(credential: Credential): boolean;
  /** All that was issued to the user up to this time is dead. */
  deadUpTo_ms(user: KeycloakId): number;
  /** Forgets what no living credential is about. */
  tidy(): void;
  readonly size: number;
}

/**
 * The revocations in force, in memory. One is kept until the last credential that it concerns has died by itself:
 * `keep_ms` is the longest life of a websocket token or access token.
 *
 * @param before what the journal kept of an earlier life.
 */
export function createRevocations(
  { keep_ms, now }: { keep_ms: number; now: () => number },
  before: readonly RevocationEntry[] = [],
): Revocations {
  /** Both in the order of revocation, because a repeated one is moved to the end: the oldest are the first. */
  const users = new Map<KeycloakId, { before_ms: number; at_ms: number }>();
  const sessions = new Map<SessionId, { at_ms: number }>();
  for (const entry of before) add(entry, entry.time_ms);

  function add(revoked: Revoked, at_ms: number): void {
    if (revoked.user === undefined) {
      sessions.delete(revoked.session);
      sessions.set(revoked.session, { at_ms });
      return;
    }
    const before_ms = Math.max(revoked.before_ms, deadUpTo_ms(revoked.user));
    users.delete(revoked.user);
    users.set(revoked.user, { before_ms, at_ms });
  }

  function isRevoked({ user, session, issuedAt_ms }: Credential): boolean {
    if (session !== null && sessions.has(session)) return true;
    return issuedAt_ms <= deadUpTo_ms(user);
  }

  function deadUpTo_ms(user: KeycloakId): number {
    return users.get(user)?.before_ms ?? -Infinity;
  }

  function tidy(): void {
    forget(users, now() - keep_ms);
    forget(sessions, now() - keep_ms);
  }

  return {
    add,
    isRevoked,
    deadUpTo_ms,
    tidy,
    get size() {
      return users.size + sessions.size;
    },
  };
}

function forget<K>(revoked: Map<K, { readonly at_ms: number }>, oldest_ms: number): void {
  for (const [name, { at_ms }] of revoked) {
    if (at_ms >= oldest_ms) break;
    revoked.delete(name);
  }
}
