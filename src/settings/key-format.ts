import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

// A key of our own making has a prefix and a checksum, so that a secret scanner recognises it in a commit or a log, and is
// sure of it without asking us (as GitHub's tokens since 2021).

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const shape = /^amper_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}$/;

/** `amper_`, 256 random bits in base64url, and the CRC-32 of all that in base62. Good as an API key and as a WS token. */
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
