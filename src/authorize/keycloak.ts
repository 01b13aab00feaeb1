import type { JWTPayload } from "jose";
import * as v from "valibot";
import { KeycloakId, SessionId } from "../model/names.ts";
import type { LogoutToken } from "../model/grant.ts";
import type { Realm } from "../settings/realms.ts";
import { createJwks, type Jwks, type JwksOptions } from "./jwks.ts";
import { createJwtVerifier, TokenRefused, type Sort, type Unverified } from "./jwt.ts";
import { createLogoutTokens } from "./logout-token.ts";

/** A realm, as configured: its channel rules are judged elsewhere, because a reload changes them. */
export type KeycloakRealm = Omit<Realm, "channels" | "algorithms"> & {
  readonly algorithms: readonly string[];
  /** How far its clock may differ from ours. */
  readonly clock_tolerance_seconds: number;
};

/** The roles of a user. Kept apart, because names of roles and ids of clients may have any character. */
export interface UserRoles {
  readonly realm: ReadonlySet<string>;
  readonly ofClient: ReadonlyMap<string, ReadonlySet<string>>;
}

/** A verified access token. */
export interface AccessToken {
  /** The realm's name in the settings. */
  readonly realm: string;
  readonly issuer: string;
  readonly user: KeycloakId;
  readonly session: SessionId | null;
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
  readonly client: string | null;
  readonly roles: UserRoles;
}

export interface KeycloakOptions extends JwksOptions {
  /** The wall clock. */
  readonly now?: () => number;
  /** The realm signed a token, good or not, that says it was issued then. */
  readonly onSigned?: (issuedAt_ms: number, life_ms: number) => void;
}

export interface Keycloak {
  /** Throws `TokenRefused`, or `unavailable` when the realm's keys cannot be had. */
  readonly verify: (token: Unverified) => Promise<AccessToken>;
  /** Judges by the time at which it came: it has to be valid at one of these. Throws the same. */
  readonly verifyLogout: (token: Unverified, times_ms?: readonly number[]) => Promise<LogoutToken>;
  readonly jwks: Jwks;
}

/**
 * The longest that an access token is taken after it was issued, whatever its `exp` says: so long a revocation has to be
 * kept. (Keycloak's default lifespan is five minutes.)
 */
export const longestAccessToken_seconds = 24 * 60 * 60;

const Seconds = v.pipe(v.number(), v.minValue(0), v.maxValue(8.64e12));
const Roles = v.object({ roles: v.optional(v.array(v.string()), []) });
const Claims = v.object({
  typ: v.optional(v.string()),
  cnf: v.optional(v.unknown()),
  sub: v.optional(KeycloakId),
  sid: v.optional(SessionId),
  azp: v.optional(v.string()),
  iat: Seconds,
  exp: Seconds,
  realm_access: v.optional(Roles, {}),
  resource_access: v.optional(v.record(v.string(), Roles), {}),
});
type Claims = v.InferOutput<typeof Claims>;

const details = {
  header: "The JWT's header needs `alg`, `kid`, and the `typ` JWT or at+jwt, as in Keycloak's access tokens.",
  not_access: "This is not an access token (`typ` Bearer): send the access token, not the ID or the refresh token.",
  bound:
    "The access token is bound to a key of its client (`cnf`), and whoever else holds it must not use it: this service takes" +
    " bearer tokens only. In Keycloak, let the client get tokens for this audience without DPoP and without certificate binding.",
  expired: "The access token has expired: refresh it and try again.",
  too_old: "The access token was issued more than a day ago: refresh it and try again.",
  not_yet:
    "The access token is not valid yet (`nbf` or `iat` is in the future): compare the clocks, or raise clock_tolerance_seconds.",
  lightweight:
    "The token has no `sub`, as a lightweight access token: in Keycloak, add the mapper Subject (sub), part of the client" +
    " scope `basic`, to the client, and turn on its setting Add to lightweight access token.",
  subject: "The token's `sub` is not a keycloakID: 1-128 printable characters, spaces only between others.",
  client: "The token was issued to a client (`azp`) whose users are not accepted here.",
} as const;

/** Verifies a realm's tokens. A refusal says which check failed. */
export function createKeycloak(realm: KeycloakRealm, options: KeycloakOptions = {}): Keycloak {
  // Every token of the realm that may see the account console has it: a token for any other service would do.
  if (realm.audience === "account") throw new Error("the audience of a realm cannot be `account`");
  const { now = Date.now } = options;
  const jwks = createJwks(realm, options);
  const verifyJwt = createJwtVerifier({ ...realm, jwks, now, onSigned: options.onSigned });
  const sort: Sort = {
    name: "access token",
    purpose: "login",
    // RFC 8725 section 3.11: `application/` may be left out, and case does not count.
    typ: /^(application\/)?(at\+)?jwt$/i,
    audience: [realm.audience],
    details: {
      header: details.header,
      algorithm: `The token is not signed with ${realm.algorithms.join(", ")}. (A refresh token never is: send the access token.)`,
      expired: details.expired,
      claim: claimDetail,
    },
  };

  async function verify(token: Unverified): Promise<AccessToken> {
    const claims = shaped(await verifyJwt(token, sort));
    if (isBound(claims)) throw genuine(details.bound);
    if (claims.typ !== "Bearer") throw genuine(details.not_access);
    // Or else a token from the future would outlive the revocation of its user: only older ones are revoked.
    if (claims.iat > now() / 1000 + realm.clock_tolerance_seconds) throw genuine(details.not_yet);
    if (claims.iat < now() / 1000 - longestAccessToken_seconds) throw genuine(details.too_old);
    const client = claims.azp ?? null;
    if (realm.clients.length > 0 && (client === null || !realm.clients.includes(client))) throw genuine(details.client);
    if (claims.sub === undefined) throw genuine(details.lightweight);
    return {
      realm: realm.name,
      issuer: realm.issuer,
      user: claims.sub,
      session: claims.sid ?? null,
      issuedAt_ms: Math.round(claims.iat * 1000),
      expiresAt_ms: Math.round(claims.exp * 1000),
      client,
      roles: rolesOf(claims),
    };
  }

  function claimDetail(claim: string, payload: JWTPayload): string {
    if (claim === "iss") return `The token's \`iss\` is not ${realm.issuer}, letter for letter.`;
    if (isBound(payload)) return details.bound;
    // An ID token has another audience, too, but an Audience mapper would not help.
    if (payload["typ"] !== "Bearer") return details.not_access;
    if (claim === "nbf") return details.not_yet;
    if (claim !== "aud") return `The token has no valid \`${claim}\`.`;
    const remedy = `in Keycloak, add an Audience mapper with it to the client, or to one of its client scopes`;
    const lightly = payload.sub === undefined ? ", and turn on its setting Add to lightweight access token" : "";
    return `The token's \`aud\` does not contain ${realm.audience}: ${remedy}${lightly}.`;
  }

  return { verify, verifyLogout: createLogoutTokens(realm, { verifyJwt, now }), jwks };
}

function shaped(payload: JWTPayload): Claims {
  const claims = v.safeParse(Claims, payload);
  if (claims.success) return claims.output;
  const claim = claims.issues[0].path?.[0].key;
  throw genuine(
    claim === "sub" ? details.subject : `The token's \`${String(claim)}\` is not what Keycloak puts there.`,
  );
}

/**
 * A token that its client has to prove a key for, by DPoP (RFC 9449) or a TLS certificate (RFC 8705). Nothing here sees that
 * proof, so that a thief could use the token as well. Any `cnf` counts, even one that says nothing (RFC 7800 3.1): the realm
 * means to confirm something that cannot be confirmed here.
 */
function isBound(claims: Readonly<Record<string, unknown>>): boolean {
  return claims["cnf"] !== undefined || claims["typ"] === "DPoP";
}

function rolesOf({ realm_access, resource_access }: Claims): UserRoles {
  const ofClient = Object.entries(resource_access).map(([client, { roles }]) => [client, new Set(roles)] as const);
  return { realm: new Set(realm_access.roles), ofClient: new Map(ofClient) };
}

/** What comes after the signature. */
function genuine(detail: string): TokenRefused {
  return new TokenRefused("genuine", detail);
}
