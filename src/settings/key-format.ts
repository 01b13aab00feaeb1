import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import * as v from "valibot";
import { sha256 } from "../model/digest.ts";

// A key of our own making has a prefix and a checksum, so that a secret scanner recognises it in a commit or a log, and is
// sure of it without asking us (as GitHub's tokens since 2021).

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const shape = /^amper_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}$/;

/** `amper_`, 256 random bits in base64url, and the CRC-32 of all that in base62. Serves as an API key and as a WS token. */
export function makeKey(random: Uint8Array = randomBytes(32)): string {
  const body = `amper_${Buffer.from(random).toString("base64url")}`;
  return body + checksum(body);
}

export function looksLikeKey(text: string): boolean {
  return shape.test(text);
}

export function hasGoodChecksum(key: string): boolean {
  return checksum(key.slice(0, -6)) === key.slice(-6);
}

function checksum(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let place = 0; place < 6; place++) {
    digits = alphabet.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/**
 * What fits into the header `Authorization: Bearer`: a longer key is never looked up, and of other letters each client makes
 * other bytes, or refuses to send them.
 */
export const headerSafe = /^[\x21-\x7e]{1,1024}$/;
export const headerSafeRule = "1–1024 ASCII characters without spaces, since headers carry no others";

/** Any key or token, in the clear or as `sha256:HEX`. Becomes its digest (SHA-256, 64 hex digits). */
export const Secret = v.pipe(
  v.string("must be a text: a key, or sha256:HEX"),
  v.trim(),
  // Refuses other spellings of a digest as well: they would count as keys, although a digest is no secret.
  v.regex(/^(?!sha-?\d+[:=-])|^sha256:[0-9a-f]{64}$/i, "must have 64 hexadecimal digits behind sha256:"),
  v.regex(headerSafe, `must have a key of ${headerSafeRule}, as in name=key`),
  // A key in base64 without a name, `c2VjcmV0==`, leaves nothing but its padding here.
  v.regex(/[^=]/, "must have a name, as in name=key"),
  v.transform((key) => (isDigest(key) ? key.slice("sha256:".length).toLowerCase() : sha256(key, "hex"))),
);

/** A warning about a valid secret. A digest does not show what is wrong with its secret. */
export function doubtAbout(secret: string): string | undefined {
  const key = secret.trim();
  if (isDigest(key)) return undefined;
  const doubt = looksLikeKey(key) && !hasGoodChecksum(key) ? "has a wrong checksum: is it mistyped?" : undefined;
  return doubtAboutLength(key) ?? doubt;
}

/** Strangers may try as many secrets as the network carries: only its length protects one. */
export function doubtAboutLength(secret: string): string | undefined {
  return secret.length < 16 ? "is shorter than 16 characters and could be guessed" : undefined;
}

export function isDigest(secret: string): boolean {
  return /^sha256:/i.test(secret);
}
