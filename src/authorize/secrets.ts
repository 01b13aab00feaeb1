import { sha256 } from "../model/digest.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { ApiKey, WsToken } from "../settings/credentials.ts";

const longestSecret = 1024;

/** API keys, or WS tokens, of which only the SHA-256 digest is kept. */
export interface Secrets<T> {
  /** `expired`: it was valid once, so its sender is not guessing. */
  find(secret: string): T | "unknown" | "expired";
  replace(entries: readonly T[]): void;
}

/**
 * Looks secrets up by digest: the time a look-up takes says something about digests, which tell an attacker nothing about
 * secrets, so no comparison has to be constant in time.
 */
export function createSecrets<T extends ApiKey | WsToken>(entries: readonly T[], now: () => number): Secrets<T> {
  let byDigest = index(entries);
  return {
    find(secret) {
      const isPossible = secret !== "" && secret.length <= longestSecret;
      const entry = isPossible ? byDigest.get(sha256(secret, "hex")) : undefined;
      if (entry === undefined) return "unknown";
      return entry.expires_at !== undefined && entry.expires_at.getTime() <= now() ? "expired" : entry;
    },
    replace: (given) => void (byDigest = index(given)),
  };
}

function index<T extends ApiKey | WsToken>(entries: readonly T[]): ReadonlyMap<string, T> {
  return new Map(entries.map((entry) => [entry.sha256, entry]));
}

/** The API key that a request brings. Throws `api_key_invalid`. */
export function requireApiKey(apiKeys: Secrets<ApiKey>, secret: unknown): ApiKey {
  if (secret === undefined) throw new Problem("api_key_invalid");
  const found = typeof secret === "string" ? apiKeys.find(secret) : "unknown";
  if (found === "expired") throw new Problem("api_key_invalid");
  if (found === "unknown") throw new Guess("api_key_invalid");
  return found;
}

/** Whether a given text is the secret; compared by digest as above. */
export function createSecret(secret: string): (given: string) => boolean {
  const digest = sha256(secret, "hex");
  return (given) => given.length <= longestSecret && sha256(given, "hex") === digest;
}
