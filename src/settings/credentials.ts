import * as v from "valibot";
import { Channel, namePattern, nameRule } from "../model/names.ts";
import { doubtAbout, isDigest, looksLikeKey, Secret } from "./key-format.ts";
import { placeIn, placeOf, type Doubt, type Place } from "./messages.ts";
import { isTable, pathItem, table } from "./setting.ts";
import { flag, instant, list, listOrAll, rate, splitAtCommas, wholeNumber, type Schema } from "./values.ts";

export const CredentialName = v.pipe(
  v.string("must be a text"),
  v.regex(namePattern, `must have a name of ${nameRule} as in name=key`),
  v.check((name) => !looksLikeKey(name), "has a key where its name should be: write name=key"),
);

const Rights = {
  name: CredentialName,
  channels: v.optional(
    v.pipe(
      listOrAll(Channel),
      v.check((channels) => channels.length > 0, "must name a channel, or be *"),
    ),
    "*",
  ),
  expires_at: v.exactOptional(instant),
  rate_per_second: v.exactOptional(rate),
  burst: v.exactOptional(wholeNumber(1, 10_000_000)),
};

interface Rate {
  readonly rate_per_second?: number;
  readonly burst?: number;
}

const burstHasRate = ({ rate_per_second, burst }: Rate) => burst === undefined || rate_per_second !== undefined;
const burstRule = "means nothing without rate_per_second";

/** The default of `burst` lets the notifications of one second come at once. */
function withBurst<T extends Rate>(entry: T): T {
  const { rate_per_second, burst } = entry;
  return rate_per_second === undefined ? entry : { ...entry, burst: burst ?? Math.ceil(rate_per_second) };
}

const ApiKey = v.pipe(
  table({ ...Rights, key: Secret, admin: v.optional(flag, false) }),
  v.forward(
    v.check((entry) => burstHasRate(entry), burstRule),
    ["burst"],
  ),
  v.transform(({ key, ...rest }) => ({ ...withBurst(rest), sha256: key })),
  v.readonly(),
);
export type ApiKey = v.InferOutput<typeof ApiKey>;

const WsToken = v.pipe(
  table({ ...Rights, token: Secret, require_bound_tokens: v.optional(flag, false) }),
  v.forward(
    v.check((entry) => burstHasRate(entry), burstRule),
    ["burst"],
  ),
  v.transform(({ token, ...rest }) => ({ ...withBurst(rest), sha256: token })),
  v.readonly(),
);
export type WsToken = v.InferOutput<typeof WsToken>;

export const ApiKeys = credentials("key", ApiKey);
export const WsTokens = credentials("token", WsToken);

/** The secrets that sign websocket tokens (HMAC). */
export const TokenSecrets = list(
  v.pipe(
    v.string("must be a text"),
    v.check((secret) => Buffer.byteLength(secret) >= 32, "must have at least 32 bytes"),
  ),
);

/** `name=secret` by comma, a list of such texts or of tables, or a table by name. In a table, the secret is called `field`. */
function credentials<T extends { readonly name: string; readonly sha256: string }>(
  field: "key" | "token",
  entry: Schema<T>,
): Schema<readonly T[]> {
  const rule = `must be name=key or name=sha256:HEX, by comma, or a table with ${field}`;
  return v.pipe(
    v.unknown(),
    v.check((given) => typeof given === "string" || Array.isArray(given) || isTable(given), rule),
    v.rawTransform<unknown, readonly T[]>(({ dataset, addIssue, NEVER }) => {
      const found: T[] = [];
      const seen = new Map<string, Place>();
      let failed = false;
      const fail = (message: string, first: string | number, ...rest: Place) => {
        failed = true;
        addIssue({ message, path: [pathItem(first), ...rest.map(pathItem)] });
      };
      for (const { place, input, isText } of entries(dataset.value, field)) {
        const { success, output, issues } = v.safeParse(entry, input, { abortPipeEarly: true });
        // The text name=secret has no fields that a message could point at.
        for (const issue of issues ?? []) fail(issue.message, place, ...(isText ? [] : placeOf(issue)));
        if (!success) continue;
        for (const identity of [`name ${output.name}`, `key ${output.sha256}`]) {
          const before = seen.get(identity);
          if (before === undefined) seen.set(identity, [place]);
          else fail(`has the same ${identity.split(" ")[0]} as${placeIn("", before)}`, place);
        }
        found.push(output);
      }
      return failed ? NEVER : found;
    }),
  );
}

interface Entry {
  /** The name in a table by name, the index in a list. */
  readonly place: string | number;
  readonly input: unknown;
  readonly isText: boolean;
}

function entries(given: unknown, field: "key" | "token"): Entry[] {
  if (isTable(given)) {
    return Object.entries(given).map(([name, entry]) => {
      return { place: name, input: isTable(entry) ? { name, ...entry } : entry, isText: false };
    });
  }
  if (typeof given !== "string" && !Array.isArray(given)) return [];
  return splitAtCommas(given).map((entry, place) => {
    if (typeof entry !== "string") return { place, input: entry, isText: false };
    const equals = entry.indexOf("=");
    const name = entry.slice(0, Math.max(0, equals)).trim();
    const secret = entry.slice(equals + 1);
    const input = field === "key" ? { name, key: secret, admin: true } : { name, token: secret };
    return { place, input, isText: true };
  });
}

/** There are keys in the clear, not only their digests. */
export function hasKeys(given: unknown, field: "key" | "token"): boolean {
  return entries(given, field).some(({ input }) => {
    const key = isTable(input) ? input[field] : undefined;
    return typeof key === "string" && !isDigest(key.trim());
  });
}

/** Warnings about valid keys. Judges what the source says, because the settings keep digests only. */
export function doubtsAboutKeys(given: unknown, field: "key" | "token"): Doubt[] {
  return entries(given, field).flatMap(({ place, input }) => {
    const key = isTable(input) ? input[field] : undefined;
    const doubt = typeof key === "string" ? doubtAbout(key) : undefined;
    return doubt === undefined ? [] : [{ place: [place], doubt }];
  });
}

/** Names and rights, never a digest: with the digest of a weak key, everybody can find the key. */
export function showCredentials(all: readonly (ApiKey | WsToken)[]): string {
  const shown = all.map((entry) => {
    const rights = [
      `channels ${entry.channels === "*" ? "*" : entry.channels.join(" ")}`,
      ...("admin" in entry && entry.admin ? ["admin"] : []),
      ...("require_bound_tokens" in entry && entry.require_bound_tokens ? ["bound tokens only"] : []),
      ...(entry.rate_per_second === undefined ? [] : [`${entry.rate_per_second} per second, ${entry.burst} at once`]),
      ...(entry.expires_at === undefined ? [] : [`until ${entry.expires_at.toISOString()}`]),
    ];
    return `${entry.name} (${rights.join(", ")})`;
  });
  return shown.join(", ");
}
