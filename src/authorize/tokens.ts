import { createHmac, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import type { Clock } from "../clock/clock.ts";
import type { Admitted } from "../model/grant.ts";
import { Channel, KeycloakId, SessionId, type Channels } from "../model/names.ts";
import { Selection } from "./channel-table.ts";

/** For whom a websocket token is made. */
export interface Grant {
  /** Who may connect; null: whoever the page says. */
  readonly user: KeycloakId | null;
  readonly channels: Channels;
  /** Of the channels that asked something of the user, what it was: see grantors.ts. */
  readonly rules: readonly (readonly [Channel, string])[];
  /** Stands for `channels` and `rules` where they make the token too long. */
  readonly selection?: (() => Selection) | undefined;
  /** The Keycloak session of the access token; null: there is none. */
  readonly session: SessionId | null;
  /** Through what, by its opaque id (see grantors.ts). */
  readonly via: string | null;
  /** When the access token was issued that it is made for, by its realm. */
  readonly accessIssuedAt_ms?: number | undefined;
  /** It ends with what it was made through. */
  readonly notAfter_ms?: number | undefined;
}

/** What a websocket token says. */
export interface Claims
  extends
    Omit<Grant, "selection" | "notAfter_ms" | "accessIssuedAt_ms">,
    Pick<Admitted, "stamp" | "expiresAt_uptime_ms" | "accessIssuedAt_ms"> {
  /** Instead of channels and rules, which are empty then. */
  readonly selection?: Selection | undefined;
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
  /** Only the wall clock says that it has expired, which was set in the last minutes: see `Wall.believed_ms`. */
  readonly isInDoubt: boolean;
}

/** What a token needs of the clock. */
export type TokenClock = Pick<Clock, "now" | "believed_ms" | "uptime_ms" | "stamp" | "sawStamp">;

export interface Tokens {
  issue(grant: Grant): { token: string; issuedAt_ms: number; expiresAt_ms: number };
  /** `forged`: we did not sign it. `token_invalid`: we did, but it is no websocket token. */
  verify(token: string): Claims | "forged" | "token_invalid" | "token_expired";
  /** What a token says that we signed, also where it has expired; undefined: we did not, or it is no websocket token. */
  read(token: string): Claims | undefined;
}

const issuer = "amper-channels";
/** Of what is issued: fits into a CONNECT, a header and a cookie. */
export const longestToken_bytes = 4096;
/** Of what is taken: earlier versions issued tokens that were as long as this. */
const longestEver_bytes = 16_384;

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
  channels: v.union([v.literal("*"), v.array(Channel), Selection]),
  // Pairs, and not an object: a channel may be called `__proto__`.
  rules: v.optional(v.array(v.tuple([Channel, v.string()])), []),
  iat: v.number(),
  exp: v.number(),
  // Earlier versions wrote neither.
  stamp: v.optional(v.pipe(v.number(), v.safeInteger())),
  // Service time, in milliseconds, at which it was issued.
  up: v.optional(v.number()),
  // The `iat` of the access token.
  at: v.optional(v.number()),
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

  function issue({
    notAfter_ms = Infinity,
    selection,
    accessIssuedAt_ms,
    ...grant
  }: Grant): ReturnType<Tokens["issue"]> {
    const believed_ms = clock.believed_ms();
    // The later one: by a clock that is behind for a moment it would have expired when that is set right. How long it lives,
    // service time says as well.
    const issuedAt_ms = Math.max(clock.now(), believed_ms);
    const expiresAt_ms = issuedAt_ms + Math.min(notAfter_ms - believed_ms, ttl_seconds * 1000);
    const [stamp, up] = [clock.stamp(), clock.uptime_ms()];
    const { user, session, via, rules } = grant;
    const encode = (channels: Channels | Selection): string => {
      const payload = {
        iss: issuer,
        ...(user === null ? {} : { sub: user }),
        ...(session === null ? {} : { sid: session }),
        ...(via === null ? {} : { via }),
        channels,
        ...(rules.length === 0 || channels !== grant.channels ? {} : { rules }),
        // Milliseconds kept as a fraction (RFC 7519 2, NumericDate).
        iat: issuedAt_ms / 1000,
        exp: expiresAt_ms / 1000,
        stamp,
        up,
        ...(accessIssuedAt_ms === undefined ? {} : { at: accessIssuedAt_ms / 1000 }),
      };
      const signed = `${header}.${base64url(JSON.stringify(payload))}`;
      return `${signed}.${sign(signed, signing ?? "")}`;
    };
    const listed = encode(grant.channels);
    const token = listed.length > longestToken_bytes && selection !== undefined ? encode(selection()) : listed;
    if (token.length > longestToken_bytes) throw new Error("a websocket token is longer than a CONNECT may bring");
    return { token, issuedAt_ms, expiresAt_ms };
  }

  function judge(token: string): "forged" | "token_invalid" | { readonly claims: Claims; readonly isOver: boolean } {
    const dot = token.lastIndexOf(".");
    const signed = token.slice(0, dot);
    if (!signed.startsWith(`${header}.`)) return "forged";
    const signature = Buffer.from(token.slice(dot + 1));
    if (!secrets.some((secret) => equal(Buffer.from(sign(signed, secret)), signature))) return "forged";
    // Not before the signature: who holds what we have signed, whatever it is, guesses nothing.
    const payload = token.length > longestEver_bytes ? undefined : parse(signed.slice(header.length + 1));
    if (payload === undefined) return "token_invalid";
    const issuedAt_ms = Math.round(payload.iat * 1000);
    // A `token_ttl_seconds` that was made shorter counts for what is out already: revocations are kept for no longer.
    const expiresAt_ms = Math.min(Math.round(payload.exp * 1000), issuedAt_ms + ttl_seconds * 1000);
    const [now_ms, believed_ms, uptime_ms] = [clock.now(), clock.believed_ms(), clock.uptime_ms()];
    const { stamp = null, up = Infinity } = payload;
    if (stamp !== null) clock.sawStamp(stamp);
    const claims = {
      user: payload.sub ?? null,
      ...granted(payload),
      session: payload.sid ?? null,
      via: payload.via ?? null,
      stamp,
      accessIssuedAt_ms: payload.at === undefined ? null : Math.round(payload.at * 1000),
      issuedAt_ms,
      expiresAt_ms,
      // The wall clock may have been ahead when it was issued. (From the future: of a journal that is gone. It begins anew.)
      expiresAt_uptime_ms: Math.min(up, uptime_ms) + expiresAt_ms - issuedAt_ms,
      isInDoubt: expiresAt_ms <= now_ms,
    };
    const isOver = expiresAt_ms <= Math.min(now_ms, believed_ms) || claims.expiresAt_uptime_ms <= uptime_ms;
    return { claims, isOver };
  }

  return {
    issue,
    verify(token) {
      const judged = judge(token);
      if (typeof judged === "string") return judged;
      return judged.isOver ? "token_expired" : judged.claims;
    },
    read(token) {
      const judged = judge(token);
      return typeof judged === "string" ? undefined : judged.claims;
    },
  };
}

function granted({ channels, rules }: v.InferOutput<typeof Payload>): Pick<Claims, "channels" | "rules" | "selection"> {
  const isListed = channels === "*" || Array.isArray(channels);
  return isListed ? { channels, rules } : { channels: [], rules: [], selection: channels };
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
