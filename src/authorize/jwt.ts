import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type JWTPayload,
  type JWTVerifyOptions,
  type LocalJWKSet,
} from "jose";
import * as v from "valibot";
import { Problem } from "../model/problem.ts";
import type { Found, Jwks, Purpose } from "./jwks.ts";

/** One sort of token that a realm signs. */
export interface Sort {
  readonly name: "access token" | "logout token";
  readonly purpose: Purpose;
  /** What the header's `typ` may be; it may be absent. */
  readonly typ: RegExp;
  /** One of these has to be in `aud`; undefined: not judged. */
  readonly audience: readonly string[] | undefined;
  /** What to say where it is refused. */
  readonly details: {
    /** `typ` is another, `alg` or `kid` is missing. */
    readonly header: string;
    readonly algorithm: string;
    readonly expired: string;
    /** A claim has not the value that it needs. */
    readonly claim: (claim: string, payload: JWTPayload) => string;
  };
}

/** Why a token is not taken, in a sentence that repeats nothing out of the token. */
export class TokenRefused extends Error {
  override readonly name = "TokenRefused";
  /**
   * `forged`: no key of the realm signed it, so its sender may be trying some out. `genuine`: the realm signed it, or may
   * have.
   */
  readonly why: "forged" | "genuine";

  constructor(why: TokenRefused["why"], detail: string) {
    super(detail);
    this.why = why;
  }
}

/** A token in its parts. Nothing of it is verified: it can only be refused by what it says. */
export interface Unverified {
  readonly text: string;
  readonly header: unknown;
  readonly payload: JWTPayload;
}

/** Access tokens may have hundreds of roles: what `max_header_bytes` lets pass at most. Logout tokens, which may have to wait, have none. */
const longest_kib = { "access token": 64, "logout token": 16 } as const;

const Header = v.object({
  alg: v.string(),
  kid: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  typ: v.optional(v.string()),
});

const Times = v.object({
  iat: v.fallback(v.optional(v.number()), undefined),
  exp: v.fallback(v.optional(v.number()), undefined),
  aud: v.optional(v.unknown()),
});

const details = {
  malformed: "This is not a signed JWT in three parts.",
  critical: "The JWT's header demands an extension or an algorithm that is not supported.",
  signature: "The signature does not match: the token was changed, or another key signed it.",
  unknown_key: "The realm has no such key: the token is of another realm, or so old that its key is gone.",
  wrong_key: "The key that the token names is not for the algorithm that it names.",
  later:
    "The key that the token names is not known, and the realm cannot be asked for it right now. Try again shortly.",
  bad_key: "The realm's key for this token cannot be used.",
} as const;

/** Takes a token apart, once for all who look into it. Throws `TokenRefused`. */
export function takeApart(text: string, name: Sort["name"]): Unverified {
  const most_kib = longest_kib[name];
  if (text.length > most_kib * 1024) throw new TokenRefused("forged", `The ${name} is longer than ${most_kib} KiB.`);
  try {
    return { text, header: decodeProtectedHeader(text), payload: decodeJwt(text) };
  } catch {
    throw new TokenRefused("forged", details.malformed);
  }
}

/**
 * Verifies what a realm signed, of a sort: signature, `iss`, `aud`, `exp`, that `iat` is there. Throws `TokenRefused`, or the
 * problem `unavailable` when the realm's keys cannot be had: that is our fault and not the user's. `at_ms` is the time to
 * judge by.
 */
export function createJwtVerifier({
  issuer,
  algorithms,
  clock_tolerance_seconds,
  jwks,
  now,
  onSigned,
}: {
  readonly issuer: string;
  readonly algorithms: readonly string[];
  readonly clock_tolerance_seconds: number;
  readonly jwks: Jwks;
  readonly now: () => number;
  /** The realm signed a token, good or not, that says it was issued then. */
  readonly onSigned?: ((issuedAt_ms: number, life_ms: number) => void) | undefined;
}): (token: Unverified, sort: Sort, at_ms?: number) => Promise<JWTPayload> {
  return async function verify(token, sort, at_ms = now()) {
    const kid = keyIdOf(token, sort);
    // While there are no keys at all, every token waits for them alike.
    if (jwks.age_ms() !== undefined && !jwks.has(kid)) refuseHopeless(token, sort, at_ms);
    return tryKeys(keysIn(await jwks.find(kid, sort.purpose)), token, { sort, at_ms });
  };

  /** Several keys may have the id that a token names: the one that fits counts. */
  async function tryKeys(
    [first, ...others]: readonly LocalJWKSet[],
    token: Unverified,
    by: { sort: Sort; at_ms: number },
    failure?: unknown,
  ): Promise<JWTPayload> {
    if (first === undefined) throw explained(failure, by.sort);
    try {
      const { payload } = await jwtVerify(token.text, first, optionsOf(by));
      tell(payload);
      return payload;
    } catch (error) {
      if (error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed) tell(error.payload);
      if (!isOfAnotherKey(error)) throw explained(error, by.sort);
      // Says more than that the key was for another algorithm.
      const worse = error instanceof errors.JWSSignatureVerificationFailed ? error : (failure ?? error);
      return tryKeys(others, token, by, worse);
    }
  }

  /** Whatever was signed: nothing else of it is verified. */
  function tell(payload: JWTPayload): void {
    const { iat, exp } = v.parse(Times, payload);
    if (iat !== undefined && Number.isFinite(iat * 1000)) onSigned?.(iat * 1000, ((exp ?? iat) - iat) * 1000);
  }

  function optionsOf({ sort: { audience }, at_ms }: { sort: Sort; at_ms: number }): JWTVerifyOptions {
    return {
      algorithms: [...algorithms],
      issuer,
      ...(audience === undefined ? {} : { audience: [...audience] }),
      requiredClaims: ["exp", "iat"],
      clockTolerance: clock_tolerance_seconds,
      currentDate: new Date(at_ms),
    };
  }

  /** Nothing is trusted here, only refused: what can be told from the text costs no key, and no fetch for an unknown one. */
  function keyIdOf(token: Unverified, { typ, details: own }: Sort): string {
    const header = v.safeParse(Header, token.header);
    if (!header.success || !typ.test(header.output.typ ?? "JWT")) throw new TokenRefused("forged", own.header);
    if (!algorithms.includes(header.output.alg)) throw new TokenRefused("forged", own.algorithm);
    if (token.payload.iss !== issuer) throw new TokenRefused("forged", own.claim("iss", token.payload));
    return header.output.kid;
  }

  /** A token of a key that is not known costs a fetch: only where it would be taken once the key is there. */
  function refuseHopeless({ payload }: Unverified, { audience, details: own }: Sort, at_ms: number): void {
    const { iat, exp, aud } = v.parse(Times, payload);
    if (iat === undefined || exp === undefined)
      throw new TokenRefused("genuine", own.claim(iat === undefined ? "iat" : "exp", payload));
    if (exp + clock_tolerance_seconds <= at_ms / 1000) throw new TokenRefused("genuine", own.expired);
    const isForUs = audience === undefined || [aud].flat().some((one) => audience.some((ours) => ours === one));
    if (!isForUs) throw new TokenRefused("genuine", own.claim("aud", payload));
  }
}

function keysIn(found: Found): readonly LocalJWKSet[] {
  if (found.kind === "keys") return found.keys;
  // Its key may be newer than ours, so that nobody is guessing.
  if (found.kind === "unknown") throw new TokenRefused("genuine", details.unknown_key);
  if (found.kind === "unusable") throw unavailable(details.bad_key, 5);
  throw unavailable(details.later, found.wait_seconds);
}

function isOfAnotherKey(error: unknown): boolean {
  return error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey;
}

function explained(error: unknown, { details: own }: Sort): TokenRefused | Problem {
  // Claims are judged after the signature.
  if (error instanceof errors.JWTExpired) return new TokenRefused("genuine", own.expired);
  if (error instanceof errors.JWTClaimValidationFailed)
    return new TokenRefused("genuine", own.claim(error.claim, error.payload));
  if (error instanceof errors.JWSSignatureVerificationFailed) return new TokenRefused("forged", details.signature);
  if (error instanceof errors.JWKSNoMatchingKey) return new TokenRefused("forged", details.wrong_key);
  if (error instanceof errors.JOSENotSupported) return new TokenRefused("forged", details.critical);
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid)
    return new TokenRefused("forged", details.malformed);
  // What is left is about the key that the realm publishes.
  return unavailable(details.bad_key, 5);
}

function unavailable(detail: string, wait_seconds: number): Problem {
  return new Problem("unavailable", { detail, headers: { "Retry-After": String(wait_seconds) } });
}
