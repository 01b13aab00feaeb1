import { createHmac, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import type { Clock } from "../clock/clock.ts";
import type { Admitted } from "../model/grant.ts";
import { Channel, KeycloakId, SessionId, type Channels } from "../model/names.ts";

/** For whom a websocket token is made. */
export interface Grant {
  /** Who may connect; null: whoever the page says. */
  readonly user: KeycloakId | null;
  readonly channels: Channels;
  /** Of the channels that asked something of the user, what it was: see grantors.ts. */
  readonly rules: readonly (readonly [Channel, string])[];
  /** The Keycloak session of the access token; null: there is none. */
  readonly session: SessionId | null;
  /** Through what, by its opaque id (see grantors.ts). */
  readonly via: string | null;
  /** It ends with what it was made through. */
  readonly notAfter_ms?: number | undefined;
}

/** What a websocket token says. */
export interface Claims extends Omit<Grant, "notAfter_ms">, Pick<Admitted, "stamp" | "expiresAt_uptime_ms"> {
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
}

/** What a token needs of the clock. */
export type TokenClock = Pick<Clock, "now" | "uptime_ms" | "stamp" | "sawStamp">;

export interface Tokens {
  issue(grant: Grant): { token: string; claims: Claims };
  verify(token: string): Claims | "token_invalid" | "token_expired";
}

const issuer = "amper-channels";
const longestToken = 16_384;

/**
 * The only header that we ever write, and the only one that we read: compared as text, so that `alg`, `crit`, `kid` or
 * `jwk` of an attacker's making are never looked at (RFC 8725 3.1).
 */
const header = base64url(JSON.stringify({ alg: "HS256", typ: "JWT" }));

const Payload = v.object({
  iss: v.literal(issuer),
  sub: v.optional(KeycloakId),
  sid: v.optional(SessionId),
  via: v.optional(v.string()),
  channels: v.union([v.literal("*"), v.array(Channel)]),
  // Pairs, and not an object: a channel may be called `__proto__`.
  rules: v.optional(v.array(v.tuple([Channel, v.string()])), []),
  iat: v.number(),
  exp: v.number(),
  // Earlier versions wrote neither.
  stamp: v.optional(v.pipe(v.number(), v.safeInteger())),
  // Service time, in milliseconds, at which it was issued.
  up: v.optional(v.number()),
});

/**
 * Websocket tokens: JWTs (RFC 7519), HS256. Signed and verified in place with `node:crypto` instead of with jose, because
 * verification has to be synchronous: while an asynchronous one is under way, connections close, second CONNECTs arrive and
 * users are revoked. (It is also twenty times cheaper, and a restart makes everybody reconnect.)
 *
 * @param secrets at least one, each ≥ 32 bytes (RFC 7518 3.2): the first signs, all verify.
 */
export function createTokens(options: {
  readonly secrets: readonly string[];
  readonly ttl_seconds: number;
  readonly clock: TokenClock;
}): Tokens {
  const { secrets, ttl_seconds, clock } = options;
  const [signing] = secrets;
  if (signing === undefined) throw new Error("a token secret is needed");

  function issue({ notAfter_ms = Infinity, ...grant }: Grant): { token: string; claims: Claims } {
    const issuedAt_ms = clock.now();
    const expiresAt_ms = Math.min(notAfter_ms, issuedAt_ms + ttl_seconds * 1000);
    const up = clock.uptime_ms();
    const expiresAt_uptime_ms = up + expiresAt_ms - issuedAt_ms;
    const claims = { ...grant, stamp: clock.stamp(), issuedAt_ms, expiresAt_ms, expiresAt_uptime_ms };
    const payload = {
      iss: issuer,
      ...(claims.user === null ? {} : { sub: claims.user }),
      ...(claims.session === null ? {} : { sid: claims.session }),
      ...(claims.via === null ? {} : { via: claims.via }),
      channels: claims.channels,
      ...(claims.rules.length === 0 ? {} : { rules: claims.rules }),
      // Milliseconds kept as a fraction (RFC 7519 2, NumericDate).
      iat: claims.issuedAt_ms / 1000,
      exp: claims.expiresAt_ms / 1000,
      stamp: claims.stamp,
      up,
    };
    const signed = `${header}.${base64url(JSON.stringify(payload))}`;
    return { token: `${signed}.${sign(signed, signing ?? "")}`, claims };
  }

  function verify(token: string): Claims | "token_invalid" | "token_expired" {
    if (token.length > longestToken) return "token_invalid";
    const dot = token.lastIndexOf(".");
    const signed = token.slice(0, dot);
    if (!signed.startsWith(`${header}.`)) return "token_invalid";
    const signature = Buffer.from(token.slice(dot + 1));
    if (!secrets.some((secret) => equal(Buffer.from(sign(signed, secret)), signature))) return "token_invalid";
    const payload = parse(signed.slice(header.length + 1));
    if (payload === undefined) return "token_invalid";
    const issuedAt_ms = Math.round(payload.iat * 1000);
    // A `token_ttl_seconds` that was made shorter counts for what is out already: revocations are kept for no longer.
    const expiresAt_ms = Math.min(Math.round(payload.exp * 1000), issuedAt_ms + ttl_seconds * 1000);
    const uptime_ms = clock.uptime_ms();
    const { stamp = null, up = Infinity } = payload;
    if (stamp !== null) clock.sawStamp(stamp);
    const claims = {
      user: payload.sub ?? null,
      channels: payload.channels,
      rules: payload.rules,
      session: payload.sid ?? null,
      via: payload.via ?? null,
      stamp,
      issuedAt_ms,
      expiresAt_ms,
      // The wall clock may have been ahead when it was issued. (From the future: of a journal that is gone. It begins anew.)
      expiresAt_uptime_ms: Math.min(up, uptime_ms) + expiresAt_ms - issuedAt_ms,
    };
    const isOver = expiresAt_ms <= clock.now() || claims.expiresAt_uptime_ms <= uptime_ms;
    return isOver ? "token_expired" : claims;
  }

  return { issue, verify };
}

function sign(signed: string, secret: string): string {
  return createHmac("sha256", secret).update(signed).digest("base64url");
}

function equal(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}

function parse(encoded: string): v.InferOutput<typeof Payload> | undefined {
  try {
    const result = v.safeParse(Payload, JSON.parse(Buffer.from(encoded, "base64url").toString()));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}
