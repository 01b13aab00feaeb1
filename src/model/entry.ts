import type { Cursor } from "./cursor.ts";
import type { Channel, KeycloakId, SessionId } from "./names.ts";

/**
 * Whom a notification is for: everyone on some channels, or some users on every channel they use, or some users on some
 * channels. Lists name nothing twice.
 */
export type Target =
  | { readonly channels: readonly Channel[]; readonly users?: undefined }
  | { readonly users: readonly KeycloakId[]; readonly channels?: readonly Channel[] | undefined };

/** The channels on which a target is to be found; one that names none is to be found on every channel. */
export function channelsOf({ channels }: Target): Pick<ReadonlySet<Channel>, "has"> {
  return channels === undefined ? everyChannel : new Set(channels);
}
const everyChannel = { has: () => true };

/** A notification as it is handed to the journal: `json` is the encoded `msg`. */
export interface Notification {
  readonly kind: "notification";
  readonly target: Target;
  readonly json: string;
  /** Held for the users it names until they have it, or for so long. 0: not held. */
  readonly ttl_seconds: number;
}

/**
 * What a revocation ends: all that was issued to a user, or for one Keycloak session, up to a moment. Each issuer has its own
 * order of events, so the moment is kept in each of them. What is issued later lives, also for the same session: Keycloak
 * hands the id of a session that has ended to the next login now and then (keycloak#32197).
 */
export type Revoked = Cut &
  (
    | { readonly user: KeycloakId; readonly session?: undefined; readonly unlinked?: undefined }
    | {
        readonly session: SessionId;
        readonly user?: undefined;
        /** With the session, this user's websocket tokens that are of none: in one entry, so that a crash does not part them. */
        readonly unlinked?: KeycloakId | undefined;
      }
  );

/** The moment up to which a revocation counts. */
export interface Cut {
  /** Our own websocket tokens with this stamp or a smaller one. Undefined: a version that knew no stamps wrote this. */
  readonly stamp?: number | undefined;
  /** Access tokens by issuer: those with this `iat` or an earlier one, by the clock of the issuer. */
  readonly realms?: Readonly<Record<string, number>> | undefined;
  /** The same for other issuers, and for websocket tokens without a stamp. Undefined: when the journal took the entry. */
  readonly before_ms?: number | undefined;
}

/** One entry, seen by every node. */
export type Revocation = { readonly kind: "revocation" } & Revoked;

export type Draft = Notification | Revocation;

/** Where and when the journal took a draft. */
export interface Place {
  readonly sequence: number;
  readonly cursor: Cursor;
  /** By the wall clock. Never less than that of the entry before. */
  readonly time_ms: number;
  /** In service time, see `Journal.uptime_ms`. */
  readonly uptime_ms: number;
}

export type NotificationEntry = Notification & Place;
export type RevocationEntry = Revocation & Place;
export type Entry = NotificationEntry | RevocationEntry;

/**
 * What became of an entry in the step that handed it over: how many connections it matched, and which of the users it
 * names had none.
 */
export interface Outcome {
  readonly connections: number;
  readonly offline: readonly KeycloakId[];
}

/** The time at which a notification is held no longer. */
export function heldUntil_ms({ time_ms, ttl_seconds }: NotificationEntry): number {
  return time_ms + ttl_seconds * 1000;
}
