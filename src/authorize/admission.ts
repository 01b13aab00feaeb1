import * as v from "valibot";
import type { Admitted, Credential } from "../model/grant.ts";
import { allows, Channel, KeycloakId } from "../model/names.ts";
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
  /** What was granted may be good no more: the settings have changed. */
  objection: (admitted: Admitted) => RefusalCode | undefined;
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
    const { session, via, issuedAt_ms, expiresAt_ms } = claims;
    const rule = claims.rules.find(([of]) => of === name.output)?.[1] ?? null;
    const isBound = claims.user !== null;
    const admitted = {
      user: user.output,
      channel: name.output,
      session,
      via,
      rule,
      isBound,
      issuedAt_ms,
      expiresAt_ms,
    };
    return needs.isRevoked(admitted) ? "revoked" : (needs.objection(admitted) ?? admitted);
  };
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}
