import { sha256 } from "../model/digest.ts";
import type { Settings } from "./schema.ts";

/** The API keys and WS tokens that are, or were, configured since the process began: the log shows none of them. */
export interface KnownSecrets {
  readonly has: (word: string) => boolean;
  add(settings: Pick<Settings, "api_keys" | "ws_tokens">): void;
}

/** A shorter one could be guessed anyway, and may be a word that lines are full of. */
const shortest = 8;

export function createKnownSecrets(settings: Parameters<KnownSecrets["add"]>[0]): KnownSecrets {
  const digests = new Set<string>();
  const add: KnownSecrets["add"] = ({ api_keys, ws_tokens }) => {
    for (const entry of [...api_keys, ...ws_tokens]) digests.add(entry.sha256);
  };
  add(settings);
  return { has: (word) => word.length >= shortest && digests.has(sha256(word, "hex")), add };
}
