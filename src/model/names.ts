import * as v from "valibot";

/** What people name things with: channels, keys, tokens, realms. Safe in a URL, a header, a log line and a TOML key. */
export const namePattern = /^[A-Za-z0-9._-]{1,64}$/;
export const nameRule = "1–64 characters out of A–Z a–z 0–9 . _ -";

/** A Keycloak user id, the `sub` claim: 1–128 printable characters, spaces only between others. */
export const KeycloakId = v.pipe(
  v.string("a keycloakID must be a string"),
  // Not only UUIDs: a federated user's id is `f:<provider>:<username>`, in any script, and with the spaces of a full name.
  // Those at an end are a mistake of a page or a backend: Keycloak takes them off names.
  // (Nor U+FFFD, which stands for bytes that were none: two ids could become one.)
  v.regex(
    /^(?!\p{Z})[^\p{C}\p{Zl}\p{Zp}\ufffd]{1,128}(?<!\p{Z})$/u,
    "a keycloakID has 1–128 printable characters, spaces only between others",
  ),
  v.brand("KeycloakId"),
);
export type KeycloakId = v.InferOutput<typeof KeycloakId>;

/** A login of a user at Keycloak, the `sid` claim: opaque. */
export const SessionId = v.pipe(
  v.string("a session id must be a string"),
  v.regex(/^[\x21-\x7e]{1,255}$/, "a session id has 1–255 printable ASCII characters"),
  v.brand("SessionId"),
);
export type SessionId = v.InferOutput<typeof SessionId>;

/** One application of the family: `admin`, `b2b`, `msf`, … */
export const Channel = v.pipe(
  v.string("a channel must be a string"),
  v.regex(namePattern, `a channel has ${nameRule}`),
  v.brand("Channel"),
);
export type Channel = v.InferOutput<typeof Channel>;

/** The channels a credential may use: a list, or `"*"` for all of them. */
export type Channels = readonly Channel[] | "*";

export function allows(channels: Channels, channel: Channel): boolean {
  return channels === "*" || channels.includes(channel);
}
