import * as v from "valibot";
import type { Admitted, Credential } from "../model/grant.ts";
import { allows, Channel, KeycloakId, type Channels } from "../model/names.ts";
import type { RefusalCode } from "../model/refusal.ts";
import type { Tokens } from "./tokens.ts";

export type Admit = (auth: unknown) => Admitted | RefusalCode;

const Auth = v.fallback(
  v.object({ token: v.optional(v.unknown()), keycloakID: v.optional(v.unknown()), channel: v.optional(v.unknown()) }),
  {},
);

/** Judges the `auth` of a Socket.IO CONNECT. Synchronous on purpose: see tokens.ts. */
export function createAdmission(needs: {
  verify: Tokens["verify"];
  isRevoked: (credential: Credential) => boolean;
  /** What may be granted through a WS token or realm, by its id; undefined: it is not configured any more. */
  channelsOf: (via: string) => Channels | undefined;
  knows: (channel: Channel) => boolean;
}): Admit {
  return function admit(auth) {
    const { token, keycloakID, channel } = v.parse(Auth, auth);
    if (isMissing(token)) return "token_missing";
    const claims = typeof token === "string" ? needs.verify(token) : "token_invalid";
    if (typeof claims === "string") return claims;
    if (isMissing(keycloakID)) return "keycloak_missing";
    const user = v.safeParse(KeycloakId, keycloakID);
    if (claims.user !== null && claims.user !== keycloakID) return "keycloak_mismatch";
    if (!user.success) return "keycloak_missing";
    if (isMissing(channel)) return "channel_missing";
    const name = v.safeParse(Channel, channel);
    if (!name.success) return "channel_invalid";
    const { session, via, issuedAt_ms, expiresAt_ms } = claims;
    // What may be granted now, and not only what might be when the token was issued.
    const within = via === null ? "*" : needs.channelsOf(via);
    if (within === undefined) return "revoked";
    if (!needs.knows(name.output) || !allows(claims.channels, name.output) || !allows(within, name.output))
      return "channel_forbidden";
    const admitted = { user: user.output, channel: name.output, session, via, issuedAt_ms, expiresAt_ms };
    return needs.isRevoked(admitted) ? "revoked" : admitted;
  };
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}
