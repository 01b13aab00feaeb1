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
  /** What it says, for log lines. */
  named(auth: unknown): Named;
}

export interface Named {
  /** Whom it names. Not verified; secrets are left out: a page may have mixed up id and token. */
  readonly keycloakID: KeycloakId | undefined;
  readonly channel: Channel | undefined;
  /** Of its token, where we signed it. */
  readonly token?: TokenNames | undefined;
}

/** What a websocket token was issued for. */
interface TokenNames {
  /** Undefined: whomever the page names. */
  readonly issuedTo: KeycloakId | undefined;
  /** Undefined: it selects them from settings. */
  readonly allows: readonly string[] | undefined;
  readonly expiresAt: string;
  /** `ws_token NAME` or `realm NAME`; undefined: it is configured no more. */
  readonly through: string | undefined;
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

  function tokenNames(auth: unknown): TokenNames | undefined {
    const { token } = v.parse(Auth, auth);
    const claims = typeof token === "string" ? tokens.read(token) : undefined;
    if (claims === undefined) return undefined;
    const { user, channels, selection, via, expiresAt_ms } = claims;
    return {
      issuedTo: user ?? undefined,
      allows: selection === undefined ? [channels].flat() : undefined,
      expiresAt: new Date(expiresAt_ms).toISOString(),
      through: access.nameOf(via),
    };
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
      return { keycloakID: open(keycloakID), channel: open(channel), token: tokenNames(auth) };
    },
  };
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}
