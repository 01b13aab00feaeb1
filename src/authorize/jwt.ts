import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from "jose";
import * as v from "valibot";
import { Problem } from "../model/problem.ts";
import type { Jwks } from "./jwks.ts";

/** One sort of token that a realm signs, and how it is refused. */
export interface Sort {
  /** What the header's `typ` may be; it may be absent. */
  readonly typ: RegExp;
  /** One of these has to be in `aud`; undefined: not judged. */
  readonly audience: readonly string[] | undefined;
  /** `genuine`: the realm did sign it, or may have. */
  readonly refuse: (detail: string, genuine?: boolean) => Problem;
  readonly details: {
    /** `typ` is another, `alg` or `kid` is missing. */
    readonly header: string;
    readonly algorithm: string;
    readonly tooLong: string;
    readonly expired: string;
    /** A claim has not the value that it needs. */
    readonly claim: (claim: string, payload: JWTPayload) => string;
  };
}

export interface JwtNeeds {
  readonly issuer: string;
  readonly algorithms: readonly string[];
  readonly find: Jwks["find"];
  readonly now: () => number;
}

const longestToken = 16 * 1024;
export const tolerance_seconds = 5;

const Header = v.object({
  alg: v.string(),
  kid: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  typ: v.optional(v.string()),
});

const details = {
  malformed: "This is not a signed JWT in three parts.",
  critical: "The JWT's header demands an extension or an algorithm that is not supported.",
  signature: "The signature does not match: the token was changed, or another key signed it.",
  unknown_key: "The realm has no such key: the token is of another realm, or so old that its key is gone.",
  wrong_key: "The key that the token names is not for the algorithm that it names.",
  no_keys: "The keys of the Keycloak realm cannot be had right now. Try again shortly.",
  bad_key: "The realm's key for this token cannot be used.",
} as const;

/**
 * Verifies what a realm signed, of a sort: signature, `iss`, `aud`, `exp`, that `iat` is there. Throws the sort's refusal, or
 * `unavailable` when the realm's keys cannot be had: that is our fault and not the user's. `at_ms` is the time to judge by.
 */
export function createJwtVerifier({
  issuer,
  algorithms,
  find,
  now,
}: JwtNeeds): (token: string, sort: Sort, at_ms?: number) => Promise<JWTPayload> {
  return async function verify(token, sort, at_ms = now()) {
    const keys = await find(keyIdOf(token, sort));
    // Its key may be newer than ours, so that nobody is guessing.
    if (keys === "unknown_key") throw sort.refuse(details.unknown_key, true);
    if (keys === "cooling_down") throw notYet(sort.refuse(details.unknown_key, true));
    if (keys === "unavailable") throw unavailable(details.no_keys);
    try {
      const { payload } = await jwtVerify(token, keys, {
        algorithms: [...algorithms],
        issuer,
        ...(sort.audience === undefined ? {} : { audience: [...sort.audience] }),
        requiredClaims: ["exp", "iat"],
        clockTolerance: tolerance_seconds,
        currentDate: new Date(at_ms),
      });
      return payload;
    } catch (error) {
      throw explained(error, sort);
    }
  };

  /** Nothing is trusted here, only refused: what can be told from the text costs no key, and no fetch for an unknown one. */
  function keyIdOf(token: string, { typ, refuse, details: own }: Sort): string {
    if (token.length > longestToken) throw refuse(own.tooLong);
    const decoded = decode(token);
    if (decoded === undefined) throw refuse(details.malformed);
    const header = v.safeParse(Header, decoded.header);
    if (!header.success || !typ.test(header.output.typ ?? "JWT")) throw refuse(own.header);
    if (!algorithms.includes(header.output.alg)) throw refuse(own.algorithm);
    if (decoded.payload.iss !== issuer) throw refuse(own.claim("iss", decoded.payload));
    return header.output.kid;
  }
}

function explained(error: unknown, { refuse, details: own }: Sort): Problem {
  // Claims are judged after the signature.
  if (error instanceof errors.JWTExpired) return refuse(own.expired, true);
  if (error instanceof errors.JWTClaimValidationFailed) return refuse(own.claim(error.claim, error.payload), true);
  if (error instanceof errors.JWSSignatureVerificationFailed) return refuse(details.signature);
  if (error instanceof errors.JWKSNoMatchingKey) return refuse(details.wrong_key);
  if (error instanceof errors.JOSENotSupported) return refuse(details.critical);
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) return refuse(details.malformed);
  // What is left is about the key that the realm publishes: too short, not on its curve, there twice.
  return unavailable(details.bad_key);
}

/** The `iss` that a token claims to have: nothing but a hint whose keys could have signed it. */
export function issuerOf(token: string): unknown {
  return token.length > longestToken ? undefined : decode(token)?.payload.iss;
}

function decode(token: string): { header: unknown; payload: JWTPayload } | undefined {
  try {
    return { header: decodeProtectedHeader(token), payload: decodeJwt(token) };
  } catch {
    return undefined;
  }
}

/** Refused, and not 503: anybody can name a key that there is not. */
function notYet({ code, extras }: Problem): Problem {
  return new Problem(code, { ...extras, mayPass: true });
}

function unavailable(detail: string): Problem {
  return new Problem("unavailable", { detail, headers: { "Retry-After": "5" } });
}
