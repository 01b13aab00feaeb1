import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload, type LocalJWKSet } from "jose";
import * as v from "valibot";
import { KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import { createJwks, type JwksHealth, type JwksOptions } from "./jwks.ts";

export interface KeycloakRealm {
  readonly issuer: string;
  /** What `aud` has to contain. */
  readonly audience: string;
  /** The clients whose tokens are taken (`azp`); none: any. */
  readonly clients: readonly string[];
  /** Undefined: from the issuer's discovery document. */
  readonly jwks_url?: string | undefined;
  readonly algorithms: readonly string[];
}

/** A verified access token. `roles` has realm roles as `name` and client roles as `client:name`. */
export interface AccessToken {
  readonly user: KeycloakId;
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
  readonly sessionId: string | null;
  readonly client: string | null;
  readonly roles: ReadonlySet<string>;
}

export interface Keycloak {
  /** Throws `token_invalid`, or `unavailable` when the realm's keys cannot be had. */
  readonly verify: (token: string) => Promise<AccessToken>;
  readonly health: () => JwksHealth;
  /** The first fetch of the keys. Never throws: `health()` says how it went, and retries follow. */
  readonly start: () => Promise<void>;
  readonly stop: () => void;
}

const longestToken = 16 * 1024;
const tolerance_seconds = 5;

const Header = v.object({
  alg: v.string(),
  kid: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  // RFC 8725 section 3.11: `application/` may be left out, and case does not count.
  typ: v.optional(v.pipe(v.string(), v.regex(/^(application\/)?(at\+)?jwt$/i))),
});
const Seconds = v.pipe(v.number(), v.minValue(0), v.maxValue(8.64e12));
const Roles = v.object({ roles: v.optional(v.array(v.string()), []) });
const Claims = v.object({
  typ: v.optional(v.string()),
  sub: v.optional(KeycloakId),
  sid: v.optional(v.string()),
  azp: v.optional(v.string()),
  iat: Seconds,
  exp: Seconds,
  realm_access: v.optional(Roles, {}),
  resource_access: v.optional(v.record(v.string(), Roles), {}),
});
type Claims = v.InferOutput<typeof Claims>;

const details = {
  too_long: "The access token is longer than 16 KiB.",
  malformed: "This is not a signed JWT in three parts.",
  header: "The JWT's header needs `alg`, `kid`, and the `typ` JWT or at+jwt, as in Keycloak's access tokens.",
  critical: "The JWT's header demands an extension or an algorithm that is not supported.",
  signature: "The signature does not match: the token was changed, or another key signed it.",
  unknown_key: "The realm has no such key: the token is of another realm, or so old that its key is gone.",
  wrong_key: "The key that the token names is not for the algorithm that it names.",
  not_access: "This is not an access token (`typ` Bearer): send the access token, not the ID or the refresh token.",
  expired: "The access token has expired: refresh it and try again.",
  not_yet: "The access token is not valid yet (`nbf` or `iat` is in the future): compare the clocks.",
  lightweight:
    "The token has no `sub`, as a lightweight access token: in Keycloak, add the mapper Subject (sub), part of the client" +
    " scope `basic`, to the client, and turn on its setting Add to lightweight access token.",
  subject: "The token's `sub` is not a keycloakID: 1-128 printable characters without spaces.",
  client: "The token was issued to a client (`azp`) whose users are not accepted here.",
  no_keys: "The keys of the Keycloak realm cannot be had right now. Try again shortly.",
  bad_key: "The realm's key for this token cannot be used.",
} as const;

/** Verifies a realm's access tokens. A refusal says which check failed, and repeats nothing out of the token. */
export function createKeycloak(realm: KeycloakRealm, options: JwksOptions = {}): Keycloak {
  // Every token of the realm that may see the account console has it: a token for any other service would do.
  if (realm.audience === "account") throw new Error("the audience of a realm cannot be `account`");
  const { now = Date.now } = options;
  const jwks = createJwks(realm, options);

  async function verify(token: string): Promise<AccessToken> {
    const keys = await jwks.find(keyIdOf(token));
    if (keys === "unknown_key") throw refusal(details.unknown_key);
    if (keys === "unavailable") throw unavailable(details.no_keys);
    return accept(await verifySigned(token, keys));
  }

  /** Nothing is trusted here, only refused: what can be told from the text costs no key, and no fetch for an unknown one. */
  function keyIdOf(token: string): string {
    if (token.length > longestToken) throw refusal(details.too_long);
    const decoded = decode(token);
    if (decoded === undefined) throw refusal(details.malformed);
    const header = v.safeParse(Header, decoded.header);
    if (!header.success) throw refusal(details.header);
    if (!realm.algorithms.includes(header.output.alg)) throw refusal(algorithmDetail());
    if (decoded.payload.iss !== realm.issuer) throw refusal(issuerDetail());
    return header.output.kid;
  }

  async function verifySigned(token: string, keys: LocalJWKSet): Promise<Claims> {
    try {
      const { payload } = await jwtVerify(token, keys, {
        algorithms: [...realm.algorithms],
        issuer: realm.issuer,
        audience: realm.audience,
        requiredClaims: ["exp", "iat"],
        clockTolerance: tolerance_seconds,
        currentDate: new Date(now()),
      });
      return shaped(payload);
    } catch (error) {
      throw error instanceof Problem ? error : explained(error);
    }
  }

  function accept(claims: Claims): AccessToken {
    if (claims.typ !== "Bearer") throw refusal(details.not_access);
    // Or else a token from the future would outlive the revocation of its user: only older ones are revoked.
    if (claims.iat > now() / 1000 + tolerance_seconds) throw refusal(details.not_yet);
    const client = claims.azp ?? null;
    if (realm.clients.length > 0 && (client === null || !realm.clients.includes(client))) throw refusal(details.client);
    if (claims.sub === undefined) throw refusal(details.lightweight);
    return {
      user: claims.sub,
      issuedAt_ms: Math.round(claims.iat * 1000),
      expiresAt_ms: Math.round(claims.exp * 1000),
      sessionId: claims.sid ?? null,
      client,
      roles: rolesOf(claims),
    };
  }

  function explained(error: unknown): Problem {
    if (error instanceof errors.JWTExpired) return refusal(details.expired);
    if (error instanceof errors.JWTClaimValidationFailed) return refusal(claimDetail(error.claim, error.payload));
    if (error instanceof errors.JWSSignatureVerificationFailed) return refusal(details.signature);
    if (error instanceof errors.JWKSNoMatchingKey) return refusal(details.wrong_key);
    if (error instanceof errors.JOSENotSupported) return refusal(details.critical);
    if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) return refusal(details.malformed);
    // What is left is about the key that the realm publishes: too short, not on its curve, there twice.
    return unavailable(details.bad_key);
  }

  function claimDetail(claim: string, payload: JWTPayload): string {
    // An ID token has another audience, too, but an Audience mapper would not help.
    if (payload["typ"] !== "Bearer") return details.not_access;
    if (claim === "aud") return audienceDetail();
    if (claim === "nbf") return details.not_yet;
    return claim === "iss" ? issuerDetail() : `The token has no valid \`${claim}\`.`;
  }

  function audienceDetail(): string {
    return (
      `The token's \`aud\` does not contain ${realm.audience}: in Keycloak, add an Audience mapper with it to the client,` +
      " or to one of its client scopes."
    );
  }

  function algorithmDetail(): string {
    return `The token is not signed with ${realm.algorithms.join(", ")}. (A refresh token never is: send the access token.)`;
  }

  function issuerDetail(): string {
    return `The token's \`iss\` is not ${realm.issuer}, letter for letter.`;
  }

  return { verify, health: jwks.health, start: jwks.start, stop: jwks.stop };
}

function decode(token: string): { header: unknown; payload: JWTPayload } | undefined {
  try {
    return { header: decodeProtectedHeader(token), payload: decodeJwt(token) };
  } catch {
    return undefined;
  }
}

function shaped(payload: JWTPayload): Claims {
  const claims = v.safeParse(Claims, payload);
  if (claims.success) return claims.output;
  const claim = claims.issues[0].path?.[0].key;
  throw refusal(
    claim === "sub" ? details.subject : `The token's \`${String(claim)}\` is not what Keycloak puts there.`,
  );
}

function rolesOf(claims: Claims): ReadonlySet<string> {
  const ofClients = Object.entries(claims.resource_access).flatMap(([client, access]) =>
    access.roles.map((role) => `${client}:${role}`),
  );
  return new Set([...claims.realm_access.roles, ...ofClients]);
}

function refusal(detail: string): Problem {
  // RFC 6750 section 3: neither quotes nor anything beyond ASCII in an error_description.
  const description = detail.replaceAll(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'");
  const challenge = `Bearer error="invalid_token", error_description="${description}"`;
  return new Problem("token_invalid", { detail, headers: { "WWW-Authenticate": challenge } });
}

function unavailable(detail: string): Problem {
  return new Problem("unavailable", { detail, headers: { "Retry-After": "5" } });
}
