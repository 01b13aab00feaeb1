import type { JWTPayload } from "jose";
import * as v from "valibot";
import type { LogoutToken } from "../model/grant.ts";
import { KeycloakId, SessionId } from "../model/names.ts";
import type { Realm } from "../settings/realms.ts";
import { TokenRefused, type createJwtVerifier, type Sort, type Unverified } from "./jwt.ts";

/** Keycloak's last two minutes. One that is older than this says nothing new, and need not be remembered. */
export const longestLogoutToken_seconds = 600;

const event = "http://schemas.openid.net/event/backchannel-logout";

/** OpenID Connect Back-Channel Logout 1.0, section 2.4. */
const Claims = v.object({
  sub: v.optional(v.string()),
  sid: v.optional(SessionId),
  aud: v.union([v.pipe(v.string(), v.minLength(1)), v.pipe(v.array(v.string()), v.minLength(1))]),
  iat: v.pipe(v.number(), v.minValue(0), v.maxValue(8.64e12)),
  jti: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  events: v.object({
    [event]: v.custom<object>((value) => Object.prototype.toString.call(value) === "[object Object]"),
  }),
});

const details = {
  header: "The JWT's header needs `alg`, `kid`, and the `typ` logout+jwt or JWT.",
  expired: "The logout token has expired.",
  not_now:
    "The logout token's `iat` is in the future, or long ago: compare the clocks, or raise clock_tolerance_seconds.",
  nonce: "The token has a `nonce`: it is an ID token, and not a logout token.",
  nobody: "The logout token has neither a `sid` nor a `sub` that is a keycloakID.",
} as const;

/**
 * Verifies logout tokens as section 2.6 of the specification asks. Which clients they may be for is configured: Keycloak
 * sends one to each client of the session, and its `aud` is that client.
 */
export function createLogoutTokens(
  {
    issuer,
    clients,
    logout_clients,
    algorithms,
    clock_tolerance_seconds: tolerance_seconds,
  }: Pick<Realm, "issuer" | "clients" | "logout_clients"> & {
    readonly algorithms: readonly string[];
    readonly clock_tolerance_seconds: number;
  },
  { verifyJwt, now }: { verifyJwt: ReturnType<typeof createJwtVerifier>; now: () => number },
): (token: Unverified, times_ms?: readonly number[]) => Promise<LogoutToken> {
  const accepted = logout_clients.length > 0 ? logout_clients : clients;
  const sort: Sort = {
    name: "logout token",
    purpose: "logout",
    typ: /^(application\/)?(logout\+)?jwt$/i,
    audience: accepted.length > 0 ? accepted : undefined,
    details: {
      header: details.header,
      algorithm: `The logout token is not signed with ${algorithms.join(", ")}.`,
      expired: details.expired,
      claim(claim) {
        if (claim === "iss") return `The token's \`iss\` is not ${issuer}, letter for letter.`;
        if (claim === "aud") return `The token's \`aud\` is none of the clients whose logouts are accepted here.`;
        return `The token has no valid \`${claim}\`.`;
      },
    },
  };

  function isCurrent({ iat = NaN, exp = Infinity }: Pick<JWTPayload, "iat" | "exp">, time_ms: number): boolean {
    const age_seconds = time_ms / 1000 - iat;
    const isOver = time_ms / 1000 >= exp + tolerance_seconds;
    return age_seconds >= -tolerance_seconds && age_seconds <= longestLogoutToken_seconds && !isOver;
  }

  return async function verifyLogout(token, times_ms = [now()]) {
    // Nothing is trusted here: a time is chosen by which the token may be valid, and that is verified next.
    const at_ms = times_ms.find((time_ms) => isCurrent(token.payload, time_ms)) ?? times_ms[0] ?? now();
    // Before the signature: a token that is no logout costs no fetch for its key, and waits for none.
    const claims = shaped(token.payload);
    if (!isCurrent({ iat: claims.iat }, at_ms)) throw genuine(details.not_now);
    const user = v.safeParse(KeycloakId, claims.sub);
    const session = claims.sid ?? null;
    if (!user.success && session === null) throw genuine(details.nobody);
    await verifyJwt(token, sort, at_ms);
    return {
      issuer,
      user: user.success ? user.output : null,
      session,
      issuedAt_ms: Math.round(claims.iat * 1000),
      id: claims.jti,
    };
  };
}

function shaped(payload: JWTPayload): v.InferOutput<typeof Claims> {
  // Its mere presence, whatever the value: section 2.4 prohibits it, to tell these tokens from ID tokens.
  if ("nonce" in payload) throw genuine(details.nonce);
  const claims = v.safeParse(Claims, payload);
  if (claims.success) return claims.output;
  throw genuine(`The token's \`${String(claims.issues[0].path?.[0].key)}\` is not that of a logout token.`);
}

/** The realm may have signed it. */
function genuine(detail: string): TokenRefused {
  return new TokenRefused("genuine", detail);
}
