import { sha256 } from "../model/digest.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { Trail } from "../observe/trail.ts";
import type { ApiKey, WsToken } from "../settings/credentials.ts";

const longestSecret = 1024;

/** API keys, or WS tokens, of which only the SHA-256 digest is kept. */
export interface Secrets<T> {
  /** `expired`: it was valid once, so its sender is not guessing. */
  find(secret: string): T | "unknown" | "expired";
  /** Its name, also where it has expired. */
  nameOf(secret: string): string | undefined;
  replace(entries: readonly T[]): void;
}

/**
 * Looks secrets up by digest: the time a look-up takes says something about digests, which tell an attacker nothing about
 * secrets, so no comparison has to be constant in time.
 */
export function createSecrets<T extends ApiKey | WsToken>(entries: readonly T[], now: () => number): Secrets<T> {
  let byDigest = index(entries);

  function entryOf(secret: string): T | undefined {
    const isPossible = secret !== "" && secret.length <= longestSecret;
    return isPossible ? byDigest.get(sha256(secret, "hex")) : undefined;
  }

  return {
    nameOf: (secret) => entryOf(secret)?.name,
    find(secret) {
      const entry = entryOf(secret);
      if (entry === undefined) return "unknown";
      return entry.expires_at !== undefined && entry.expires_at.getTime() <= now() ? "expired" : entry;
    },
    replace: (given) => void (byDigest = index(given)),
  };
}

function index<T extends ApiKey | WsToken>(entries: readonly T[]): ReadonlyMap<string, T> {
  return new Map(entries.map((entry) => [entry.sha256, entry]));
}

/** The API key that a request brings; its name goes into the trail. Throws `api_key_invalid`. */
export function requireApiKey(apiKeys: Secrets<ApiKey>, secret: unknown, trail: Trail): ApiKey {
  if (secret === undefined) throw new Problem("api_key_invalid");
  if (typeof secret !== "string") throw new Guess("api_key_invalid");
  const found = apiKeys.find(secret);
  if (found === "unknown") throw new Guess("api_key_invalid");
  trail.key = found === "expired" ? apiKeys.nameOf(secret) : found.name;
  if (found === "expired") throw new Problem("api_key_invalid");
  return found;
}

/** Whether a given text is the secret; compared by digest as above. */
export function createSecret(secret: string): (given: string) => boolean {
  const digest = sha256(secret, "hex");
  return (given) => given.length <= longestSecret && sha256(given, "hex") === digest;
}
