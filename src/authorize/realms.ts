import type { LogoutToken } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import { issuerOf } from "./jwt.ts";
import type { JwksHealth } from "./jwks.ts";
import type { AccessToken, Keycloak } from "./keycloak.ts";
import { refusal as logoutRefusal } from "./logout_token.ts";

/** A realm by the name that it has in the settings. */
export interface NamedRealm {
  readonly name: string;
  readonly issuer: string;
  readonly keycloak: Keycloak;
}

export interface NamedHealth extends JwksHealth {
  readonly name: string;
  /** When the keys in use were fetched; undefined: there are none. */
  readonly fetchedAt_ms: number | undefined;
}

export interface Realms {
  /** Throws `token_invalid`, or `unavailable` when the realm's keys cannot be had. */
  readonly verify: (token: string) => Promise<AccessToken>;
  /** Judges by the time at which it came. Throws `logout_token_invalid`, or `unavailable`. */
  readonly verifyLogout: (token: string, at_ms?: number) => Promise<LogoutToken>;
  readonly health: () => readonly NamedHealth[];
  readonly start: () => void;
  readonly stop: () => void;
}

/**
 * Several realms, each with keys and rules of its own. A token is judged by the realm of its `iss` and by no other: there is
 * no common set of keys in which one realm's key could vouch for another realm's user.
 */
export function createRealms(realms: readonly [NamedRealm, ...NamedRealm[]]): Realms {
  const byIssuer = new Map(realms.map((realm) => [realm.issuer, realm]));
  const unknown = `The token's \`iss\` is none of ${realms.map(({ issuer }) => issuer).join(", ")}, letter for letter.`;

  function realmOf(token: string, refuse: (detail: string) => Problem): NamedRealm {
    const issuer = issuerOf(token);
    const realm = typeof issuer === "string" ? byIssuer.get(issuer) : undefined;
    if (realm !== undefined) return realm;
    // With one realm, or without an `iss`, its own checks say best what is wrong.
    if (realms.length === 1 || issuer === undefined) return realms[0];
    throw refuse(unknown);
  }

  return {
    async verify(token) {
      return realmOf(token, (detail) => new Problem("token_invalid", { detail })).keycloak.verify(token);
    },
    async verifyLogout(token, at_ms) {
      return realmOf(token, logoutRefusal).keycloak.verifyLogout(token, at_ms);
    },
    health: () =>
      realms.map(({ name, keycloak }) => ({ name, fetchedAt_ms: keycloak.fetchedAt_ms(), ...keycloak.health() })),
    start() {
      for (const { keycloak } of realms) void keycloak.start();
    },
    stop() {
      for (const { keycloak } of realms) keycloak.stop();
    },
  };
}
