import type { RevocationEntry, Revoked, UpTo } from "../model/entry.ts";
import type { Credential } from "../model/grant.ts";
import type { KeycloakId, SessionId } from "../model/names.ts";

/** Who was thrown out. */
export interface Revocations {
  /** @param at_ms when it was revoked; from then on it counts for as long as a credential could live. */
  add(revoked: Revoked, at_ms: number): void;
  isRevoked(credential: Credential): boolean;
  /** Whether a logout has ended it although it is of no session: only websocket tokens, of which nobody knows whose session they serve. */
  isEndedUnlinked(credential: Credential): boolean;
  /** Every websocket token that was issued up to this time to the user, for this session (null: for none), is dead. */
  deadUpTo_ms(user: KeycloakId, session: SessionId | null): number;
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
  /** All in the order of revocation, because a repeated one is moved to the end: the oldest are the first. */
  const users: UpToTimes = new Map();
  const unlinked: UpToTimes = new Map();
  const sessions = new Map<SessionId, { at_ms: number }>();
  for (const entry of before) add(entry, entry.time_ms);

  function add(revoked: Revoked, at_ms: number): void {
    if (revoked.user === undefined) {
      sessions.delete(revoked.session);
      sessions.set(revoked.session, { at_ms });
      if (revoked.unlinked !== undefined) addTo(unlinked, revoked.unlinked, at_ms);
      return;
    }
    addTo(users, revoked, at_ms);
  }

  function isRevoked({ user, session, issuedAt_ms }: Credential): boolean {
    if (session !== null && sessions.has(session)) return true;
    return issuedAt_ms <= upTo_ms(users, user);
  }

  function isEndedUnlinked({ user, session, issuedAt_ms }: Credential): boolean {
    return session === null && issuedAt_ms <= upTo_ms(unlinked, user);
  }

  function deadUpTo_ms(user: KeycloakId, session: SessionId | null): number {
    return Math.max(upTo_ms(users, user), session === null ? upTo_ms(unlinked, user) : -Infinity);
  }

  function tidy(): void {
    forget(users, now() - keep_ms);
    forget(unlinked, now() - keep_ms);
    forget(sessions, now() - keep_ms);
  }

  return {
    add,
    isRevoked,
    isEndedUnlinked,
    deadUpTo_ms,
    tidy,
    get size() {
      // What is unlinked came with a session, and counts with it.
      return users.size + sessions.size;
    },
  };
}

type UpToTimes = Map<KeycloakId, { readonly before_ms: number; readonly at_ms: number }>;

function upTo_ms(times: UpToTimes, user: KeycloakId): number {
  return times.get(user)?.before_ms ?? -Infinity;
}

function addTo(times: UpToTimes, { user, before_ms }: UpTo, at_ms: number): void {
  const latest_ms = Math.max(before_ms, upTo_ms(times, user));
  times.delete(user);
  times.set(user, { before_ms: latest_ms, at_ms });
}

function forget<K>(revoked: Map<K, { readonly at_ms: number }>, oldest_ms: number): void {
  for (const [name, { at_ms }] of revoked) {
    if (at_ms >= oldest_ms) break;
    revoked.delete(name);
  }
}
