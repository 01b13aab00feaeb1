import * as v from "valibot";
import type { Admitted } from "../model/grant.ts";
import { Channel, KeycloakId } from "../model/names.ts";
import type { RefusalCode } from "../model/refusal.ts";
import type { Access } from "./access.ts";
import type { Tokens } from "./tokens.ts";

/** Reads the `auth` of a Socket.IO CONNECT. */
export interface Admission {
  /**
   * Judges it. `forged`: a `token_invalid` that its sender may be trying out. `in_doubt`: whether the token has expired will be
   * known in a few minutes.
   */
  admit(auth: unknown): Admitted | RefusalCode | "forged" | "in_doubt";
  /** Whom it names, for log lines. Nothing of it is verified; secrets are left out: a page may have mixed up id and token. */
  named(auth: unknown): { readonly keycloakID: KeycloakId | undefined; readonly channel: Channel | undefined };
}

const Auth = v.fallback(
  v.object({ token: v.optional(v.unknown()), keycloakID: v.optional(v.unknown()), channel: v.optional(v.unknown()) }),
  {},
);

const Names = v.object({
  keycloakID: v.fallback(v.optional(KeycloakId), undefined),
  channel: v.fallback(v.optional(Channel), undefined),
});

/** Synchronous on purpose: see tokens.ts. */
export function createAdmission({ access, tokens }: { access: Access; tokens: Tokens }): Admission {
  function admit(auth: unknown): ReturnType<Admission["admit"]> {
    const { token, keycloakID, channel } = v.parse(Auth, auth);
    if (isMissing(token)) return "token_missing";
    const claims = typeof token === "string" ? tokens.verify(token) : "forged";
    if (typeof claims === "string") return claims;
    if (isMissing(keycloakID)) return "keycloak_missing";
    const user = v.safeParse(KeycloakId, keycloakID);
    if (claims.user !== null && claims.user !== keycloakID) return "keycloak_mismatch";
    if (!user.success) return "keycloak_missing";
    if (isMissing(channel)) return "channel_missing";
    const name = v.safeParse(Channel, channel);
    if (!name.success) return "channel_invalid";
    const granted = access.ruleFor(claims, name.output);
    if (typeof granted === "string") return granted;
    const { session, via, stamp, accessIssuedAt_ms, issuedAt_ms, expiresAt_ms, expiresAt_uptime_ms } = claims;
    const admitted = {
      user: user.output,
      channel: name.output,
      session,
      via,
      rule: granted.rule,
      isBound: claims.user !== null,
      stamp,
      accessIssuedAt_ms,
      issuedAt_ms,
      expiresAt_ms,
      expiresAt_uptime_ms,
    };
    return access.objectionTo(admitted) ?? (claims.isInDoubt ? "in_doubt" : admitted);
  }

  const isSecret = (text: string): boolean =>
    // As a whole, or behind the word Bearer.
    text
      .split(" ")
      .some((part) => [access.apiKeys, access.wsTokens].some((secrets) => secrets.find(part) !== "unknown"));
  const open = <T extends string>(text: T | undefined) => (text === undefined || isSecret(text) ? undefined : text);

  return {
    admit,
    named(auth) {
      const { keycloakID, channel } = v.parse(Names, v.parse(Auth, auth));
      return { keycloakID: open(keycloakID), channel: open(channel) };
    },
  };
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}
