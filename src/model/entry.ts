import type { Cursor } from "./cursor.ts";
import type { Channel, KeycloakId } from "./names.ts";

/**
 * Whom a notification is for: everyone on some channels, or some users on every channel they use, or some users on some
 * channels. Lists name nothing twice.
 */
export type Target =
  | { readonly channels: readonly Channel[]; readonly users?: undefined }
  | { readonly users: readonly KeycloakId[]; readonly channels?: readonly Channel[] | undefined };

/** A notification as it is handed to the journal: `json` is the encoded `msg`. */
export interface Notification {
  readonly kind: "notification";
  readonly target: Target;
  readonly json: string;
}

/** "Whatever was issued to this user up to `before_ms` is dead": one entry, seen by every node. */
export interface Revocation {
  readonly kind: "revocation";
  readonly user: KeycloakId;
  readonly before_ms: number;
}

export type Draft = Notification | Revocation;

/** What the journal makes of a draft: the same with its place and the time of its acceptance. */
export type Entry = Draft & { readonly cursor: Cursor; readonly time_ms: number };

/**
 * What became of an entry in the step that handed it over: how many connections it matched, and which of the users it
 * names had none.
 */
export interface Outcome {
  readonly connections: number;
  readonly offline: readonly KeycloakId[];
}
