import type { Channel, KeycloakId, SessionId } from "./names.ts";

/** What a revocation can end: whose it is, out of which Keycloak session (null: of none), and when it was issued. */
interface Credential {
  readonly user: KeycloakId;
  readonly session: SessionId | null;
  /** By the wall clock of its issuer. */
  readonly issuedAt_ms: number;
}

/** A websocket token as far as revocations ask. */
export interface OwnCredential extends Credential {
  /** Its place in the order of all that we issue and revoke. Null: a version that knew no stamps issued it. */
  readonly stamp: number | null;
}

/** An access token as far as revocations ask. */
export interface RealmCredential extends Credential {
  readonly issuer: string;
}

/** A page that may connect: who it is, where, on what grounds, and until when. */
export interface Admitted extends OwnCredential {
  readonly channel: Channel;
  /** Through what it was granted, by an opaque id: a WS token, or a realm. Null: who knows. */
  readonly via: string | null;
  /** What the channel asked of the user when it was granted, as a digest; null: nothing. */
  readonly rule: string | null;
  /** The token names the user. */
  readonly isBound: boolean;
  readonly expiresAt_ms: number;
  /** The same in service time. Whichever comes first ends it. */
  readonly expiresAt_uptime_ms: number;
}

/** A verified logout token of a realm: at least one of user and session is there. */
export interface LogoutToken {
  readonly issuer: string;
  readonly user: KeycloakId | null;
  readonly session: SessionId | null;
  readonly issuedAt_ms: number;
  /** Unique within its issuer: the same again is the same logout. */
  readonly id: string;
}
