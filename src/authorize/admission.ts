import * as v from "valibot";
import { allows, Channel, KeycloakId } from "../model/names.ts";
import type { RefusalCode } from "../model/refusal.ts";
import type { Tokens } from "./tokens.ts";

/** A page that may connect: who it is, where, and until when. */
export interface Admitted {
  readonly user: KeycloakId;
  readonly channel: Channel;
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
}

export type Admit = (auth: unknown) => Admitted | RefusalCode;

const Auth = v.fallback(
  v.object({ token: v.optional(v.unknown()), keycloakID: v.optional(v.unknown()), channel: v.optional(v.unknown()) }),
  {},
);

/** Judges the `auth` of a Socket.IO CONNECT. Synchronous on purpose: see tokens.ts. */
export function createAdmission(needs: {
  verify: Tokens["verify"];
  isRevoked: (user: KeycloakId, issuedAt_ms: number) => boolean;
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
    if (!needs.knows(name.output) || !allows(claims.channels, name.output)) return "channel_forbidden";
    if (needs.isRevoked(user.output, claims.issuedAt_ms)) return "revoked";
    const { issuedAt_ms, expiresAt_ms } = claims;
    return { user: user.output, channel: name.output, issuedAt_ms, expiresAt_ms };
  };
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}
