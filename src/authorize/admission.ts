import * as v from "valibot";
import type { Admitted } from "../model/grant.ts";
import { allows, Channel, KeycloakId } from "../model/names.ts";
import type { RefusalCode } from "../model/refusal.ts";
import type { Access } from "./access.ts";
import type { Tokens } from "./tokens.ts";

/** Judges the `auth` of a Socket.IO CONNECT. */
export type Admit = (auth: unknown) => Admitted | RefusalCode;

const Auth = v.fallback(
  v.object({ token: v.optional(v.unknown()), keycloakID: v.optional(v.unknown()), channel: v.optional(v.unknown()) }),
  {},
);

/** Synchronous on purpose: see tokens.ts. */
export function createAdmission({ access, tokens }: { access: Access; tokens: Tokens }): Admit {
  return function admit(auth) {
    const { token, keycloakID, channel } = v.parse(Auth, auth);
    if (isMissing(token)) return "token_missing";
    const claims = typeof token === "string" ? tokens.verify(token) : "token_invalid";
    if (typeof claims === "string") return claims;
    if (isMissing(keycloakID)) return "keycloak_missing";
    const user = v.safeParse(KeycloakId, keycloakID);
    if (claims.user !== null && claims.user !== keycloakID) return "keycloak_mismatch";
    if (!user.success) return "keycloak_missing";
    if (isMissing(channel)) return "channel_missing";
    const name = v.safeParse(Channel, channel);
    if (!name.success) return "channel_invalid";
    if (!access.knows(name.output) || !allows(claims.channels, name.output)) return "channel_forbidden";
    const { session, via, stamp, issuedAt_ms, expiresAt_ms, expiresAt_uptime_ms } = claims;
    const admitted = {
      user: user.output,
      channel: name.output,
      session,
      via,
      rule: claims.rules.find(([of]) => of === name.output)?.[1] ?? null,
      isBound: claims.user !== null,
      stamp,
      issuedAt_ms,
      expiresAt_ms,
      expiresAt_uptime_ms,
    };
    return access.objectionTo(admitted) ?? admitted;
  };
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}
