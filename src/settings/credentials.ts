import * as v from "valibot";
import { sha256 } from "../model/digest.ts";
import { Channel, namePattern, nameRule, type Channels } from "../model/names.ts";
import { hasGoodChecksum, looksLikeKey } from "./key-format.ts";
import { placeIn, placeOf, type Doubt, type Place } from "./text.ts";
import {
  flag,
  instant,
  isTable,
  listOrAll,
  pathItem,
  rate,
  splitAtCommas,
  table,
  wholeNumber,
  type Schema,
} from "./values.ts";

/** Of a key or token only its digest (SHA-256, 64 hex digits) is kept. */
interface Credential {
  readonly name: string;
  readonly sha256: string;
  readonly channels: Channels;
  readonly expires_at?: Date;
  /** Both or none: then the general limit is its own. */
  readonly rate_per_second?: number;
  readonly burst?: number;
}

export interface ApiKey extends Credential {
  readonly admin: boolean;
}

export interface WsToken extends Credential {
  readonly require_bound_tokens: boolean;
}

export const CredentialName = v.pipe(
  v.string("must be a text"),
  v.regex(namePattern, `must have a name of ${nameRule} as in name=key`),
  v.check((name) => !looksLikeKey(name), "has a key where its name should be: write name=key"),
);

const Secret = v.pipe(
  v.string("must be a text: a key, or sha256:HEX"),
  v.trim(),
  // Nor the other ways to write a digest, which would be taken for a key, and everybody may see them.
  v.regex(/^(?!sha-?\d+[:=-])|^sha256:[0-9a-f]{64}$/i, "must have 64 hexadecimal digits behind sha256:"),
  // It has to fit into a header (Authorization: Bearer), and `authorize` reads no secret that is longer.
  v.regex(/^[^\s\p{C}]{1,1024}$/u, "must have a key of 1–1024 characters without spaces, as in name=key"),
  // What is left of a key in base64 that was given without a name: `c2VjcmV0==`.
  v.regex(/[^=]/, "must have a name, as in name=key"),
  v.transform((key) => (isDigest(key) ? key.slice("sha256:".length).toLowerCase() : sha256(key, "hex"))),
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

interface Limited {
  readonly rate_per_second?: number | undefined;
  readonly burst?: number | undefined;
}

const hasRate = ({ rate_per_second, burst }: Limited) => burst === undefined || rate_per_second !== undefined;
const rateRule = "means nothing without rate_per_second";

/** Without a burst of its own, what comes in a second may come at once. */
function withBurst<T extends Limited>(entry: T): T {
  const { rate_per_second, burst } = entry;
  return rate_per_second === undefined ? entry : { ...entry, burst: burst ?? Math.ceil(rate_per_second) };
}

export const ApiKeys = credentials<ApiKey>(
  "key",
  v.pipe(
    table({ ...Rights, key: Secret, admin: v.optional(flag, false) }),
    v.forward(
      v.check((entry) => hasRate(entry), rateRule),
      ["burst"],
    ),
    v.transform(({ key, ...rest }) => withBurst({ ...rest, sha256: key })),
  ),
);

export const WsTokens = credentials<WsToken>(
  "token",
  v.pipe(
    table({ ...Rights, token: Secret, require_bound_tokens: v.optional(flag, false) }),
    v.forward(
      v.check((entry) => hasRate(entry), rateRule),
      ["burst"],
    ),
    v.transform(({ token, ...rest }) => withBurst({ ...rest, sha256: token })),
  ),
);

/** `name=secret` by comma, a list of these or of tables, or a table by name. In a table, the secret is called `field`. */
function credentials<T extends Credential>(field: "key" | "token", entry: Schema<T>): Schema<readonly T[]> {
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
        // What is written as name=secret has no fields that one could point at.
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

interface Given {
  /** The name in a table by name, the index in a list. */
  readonly place: string | number;
  readonly input: unknown;
  readonly isText: boolean;
}

function entries(given: unknown, field: "key" | "token"): Given[] {
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
    return {
      place,
      input: field === "key" ? { name, key: secret, admin: true } : { name, token: secret },
      isText: true,
    };
  });
}

/** What is doubtful about keys that are valid. Only here are they seen in the clear. */
export function doubtsAboutKeys(given: unknown, field: "key" | "token"): Doubt[] {
  return entries(given, field).flatMap(({ place, input }) => {
    const key = isTable(input) ? input[field] : undefined;
    if (typeof key !== "string" || isDigest(key.trim())) return [];
    if (key.trim().length < 16)
      return [{ place: [place], doubt: "is shorter than 16 characters and could be guessed" }];
    if (looksLikeKey(key.trim()) && !hasGoodChecksum(key.trim())) {
      return [{ place: [place], doubt: "has a wrong checksum: is it mistyped?" }];
    }
    return [];
  });
}

function isDigest(secret: string): boolean {
  return /^sha256:/i.test(secret);
}
