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

/** All that was issued to a user up to a time. */
export interface UpTo {
  readonly user: KeycloakId;
  readonly before_ms: number;
}

/**
 * What is dead: all that was issued to a user up to a time; or all that came of one Keycloak session, whenever, because a
 * session that has ended does not come back. `unlinked`: with the session, the user's websocket tokens that are of no session;
 * in one entry, so that a crash does not part them.
 */
export type Revoked =
  | (UpTo & { readonly session?: undefined; readonly unlinked?: undefined })
  | { readonly session: SessionId; readonly user?: undefined; readonly unlinked?: UpTo | undefined };

/** One entry, seen by every node. */
export type Revocation = { readonly kind: "revocation" } & Revoked;

export type Draft = Notification | Revocation;

/** Where and when the journal took a draft. */
interface Place {
  readonly sequence: number;
  readonly cursor: Cursor;
  readonly time_ms: number;
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
