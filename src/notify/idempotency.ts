import { sha256 } from "../model/digest.ts";
import { Problem } from "../model/problem.ts";

/** The header of RFC draft-ietf-httpapi-idempotency-key-header: 1–255 printable characters. */
export function idempotencyKey(key: string | null): string | undefined {
  if (key === null) return undefined;
  if (/^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/.test(key)) return key;
  throw new Problem("invalid_request", { detail: "An Idempotency-Key has 1–255 printable ASCII characters." });
}

/** What was asked, without the key that asked: a repeat may come with a rotated one of the same name. */
export function fingerprint(body: object): string {
  return sha256(JSON.stringify(body), "base64url");
}
