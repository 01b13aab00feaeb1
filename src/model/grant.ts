import type { Channel, KeycloakId, SessionId } from "./names.ts";

/** What a revocation can kill: whose it is, out of which Keycloak session (null: of none), and since when. */
export interface Credential {
  readonly user: KeycloakId;
  readonly session: SessionId | null;
  readonly issuedAt_ms: number;
}

/** A page that may connect: who it is, where, on what grounds, and until when. */
export interface Admitted extends Credential {
  readonly channel: Channel;
  /** Through what it was granted, by an opaque id: a WS token, or a realm. Null: who knows. */
  readonly via: string | null;
  /** What the channel asked of the user when it was granted, as a digest; null: nothing. */
  readonly rule: string | null;
  /** The token names the user. */
  readonly isBound: boolean;
  readonly expiresAt_ms: number;
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
