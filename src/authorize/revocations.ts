import type { Clock } from "../clock/clock.ts";
import type { Cut, Place, RevocationEntry, Revoked } from "../model/entry.ts";
import type { OwnCredential, RealmCredential } from "../model/grant.ts";
import type { KeycloakId, SessionId } from "../model/names.ts";

/** When the journal took a revocation, or was given it. */
export type RevokedAt = Pick<Place, "time_ms" | "uptime_ms">;

/** Who was thrown out. */
export interface Revocations {
  /** From then on it counts for as long as a credential could live. */
  add(revoked: Revoked, at: RevokedAt): void;
  /**
   * Judges a websocket token by its stamp, whatever wall clocks say. One that is of no session may have ended with a session of
   * its user: nobody knows which it serves.
   */
  endsOwn(credential: OwnCredential): boolean;
  /** Judges an access token by the clock of its realm. For one that is of no session, the same holds. */
  endsOfRealm(credential: RealmCredential): boolean;
  /** Forgets what no living credential is about. */
  tidy(): void;
  readonly size: number;
}

interface InForce extends RevokedAt {
  /** 0: a version that knew no stamps wrote it. */
  readonly stamp: number;
  readonly realms: Readonly<Record<string, number>>;
  readonly before_ms: number;
}

/**
 * The revocations in force, in memory. One is kept until the last credential that it concerns has died by itself:
 * `keep_ms` is the longest life of a websocket token or access token. Both the wall clock and service time have to say so: by
 * one of them alone, a clock that is ahead for a moment would bring tokens back.
 *
 * @param before what the journal kept of an earlier life.
 */
export function createRevocations(
  { keep_ms, clock }: { keep_ms: number; clock: Pick<Clock, "now" | "uptime_ms"> },
  before: readonly RevocationEntry[] = [],
): Revocations {
  /** Both in the order of revocation, because a repeated one is moved to the end: the oldest in service time are the first. */
  const users = new Map<KeycloakId, InForce>();
  const sessions = new Map<SessionId, InForce>();
  /** Of users whose tokens of no session ended with a session. */
  const unlinked = new Map<KeycloakId, InForce>();
  for (const entry of before) add(entry, entry);

  function add(revoked: Revoked, at: RevokedAt): void {
    if (revoked.user !== undefined) return renew(users, revoked.user, revoked, at);
    renew(sessions, revoked.session, revoked, at);
    if (revoked.unlinked !== undefined) renew(unlinked, revoked.unlinked, revoked, at);
  }

  /** Of two for the same name, each counts as far as it goes: one that comes late takes nothing back. */
  function renew<K>(revocations: Map<K, InForce>, name: K, cut: Cut, at: RevokedAt): void {
    const added = inForce(cut, at);
    const known = revocations.get(name);
    revocations.delete(name);
    revocations.set(name, known === undefined ? added : latest(known, added));
  }

  function endsOwn({ user, session, stamp, issuedAt_ms }: OwnCredential): boolean {
    return [users.get(user), session === null ? unlinked.get(user) : sessions.get(session)].some((revocation) => {
      if (revocation === undefined) return false;
      if (stamp !== null) return stamp <= revocation.stamp;
      // It was issued before the first stamp, and so before every revocation that has one.
      return revocation.stamp > 0 || issuedAt_ms <= revocation.before_ms;
    });
  }

  function endsOfRealm({ user, session, issuer, issuedAt_ms }: RealmCredential): boolean {
    const upTo = (revocation: InForce | undefined) => revocation && upTo_ms(revocation, issuer);
    // Of no session, it may serve any session of its own realm.
    const ofSession_ms = session === null ? unlinked.get(user)?.realms[issuer] : upTo(sessions.get(session));
    return issuedAt_ms <= Math.max(upTo(users.get(user)) ?? -Infinity, ofSession_ms ?? -Infinity);
  }

  function tidy(): void {
    forget(users);
    forget(sessions);
    forget(unlinked);
  }

  function forget<K>(revocations: Map<K, InForce>): void {
    const oldest = { time_ms: clock.now() - keep_ms, uptime_ms: clock.uptime_ms() - keep_ms };
    for (const [name, { time_ms, uptime_ms }] of revocations) {
      if (uptime_ms >= oldest.uptime_ms) break;
      if (time_ms < oldest.time_ms) revocations.delete(name);
    }
  }

  return {
    add,
    endsOwn,
    endsOfRealm,
    tidy,
    get size() {
      // What is unlinked came with a session, and counts with it.
      return users.size + sessions.size;
    },
  };
}

function inForce({ stamp = 0, realms = {}, before_ms }: Cut, { time_ms, uptime_ms }: RevokedAt): InForce {
  return { stamp, realms, before_ms: before_ms ?? time_ms, time_ms, uptime_ms };
}

function latest(a: InForce, b: InForce): InForce {
  const issuers = Object.keys({ ...a.realms, ...b.realms });
  return {
    stamp: Math.max(a.stamp, b.stamp),
    realms: Object.fromEntries(issuers.map((issuer) => [issuer, Math.max(upTo_ms(a, issuer), upTo_ms(b, issuer))])),
    before_ms: Math.max(a.before_ms, b.before_ms),
    time_ms: b.time_ms,
    uptime_ms: b.uptime_ms,
  };
}

/** The last moment, by the clock of a realm, whose tokens it ends. */
function upTo_ms({ realms, before_ms }: InForce, issuer: string): number {
  return realms[issuer] ?? before_ms;
}
