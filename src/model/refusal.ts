/**
 * Why a Socket.IO connection is refused for good: `connect_error` with this sentence and `data.code`. A stock client does
 * not come back after one, so a code belongs here only if trying again with the same `auth` cannot help.
 */
export const refusals = {
  token_missing: "auth.token is missing: get one from GET /authorize",
  token_invalid: "auth.token is not a token of this service: get one from GET /authorize",
  token_expired: "auth.token has expired: get a new one from GET /authorize",
  revoked: "auth.token was revoked: the user has to log in again",
  keycloak_missing: "auth.keycloakID is missing or not one: send the user's Keycloak id, the sub of his tokens",
  keycloak_mismatch: "auth.keycloakID is not the user to whom auth.token was issued",
  channel_missing: "auth.channel is missing: send the name of the application's channel",
  channel_invalid: "auth.channel is not a channel name: 1–64 characters out of A–Z a–z 0–9 . _ -",
  channel_forbidden: "auth.token does not allow this channel",
  too_many_connections: "this user has as many connections as the service allows",
} as const;

export type RefusalCode = keyof typeof refusals;

/**
 * Why the service ends a connection: the event `closing` carries the code and whether the client is to come back. Where it
 * is, the engine is closed, and a stock client returns by itself; where not, the socket is disconnected, and it stays away.
 */
export const closings = {
  token_expired: { reconnect: true },
  draining: { reconnect: true },
  overloaded: { reconnect: true },
  revoked: { reconnect: false },
} as const;

export type ClosingCode = keyof typeof closings;
