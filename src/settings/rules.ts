import * as v from "valibot";
import { Channel, namePattern, nameRule } from "../model/names.ts";
import { isTable, list, table, text, type Schema } from "./values.ts";

export const algorithms = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

export const Algorithms = v.pipe(
  list(v.picklist(algorithms, `must be out of ${algorithms.join(" ")}`)),
  v.check((names) => names.length > 0, `must be out of ${algorithms.join(" ")}`),
);

/** Every Keycloak token has `account` in its `aud`: accepting that one would accept the tokens of every client of the realm. */
export const Audience = v.pipe(
  text("must be a text without spaces", /^\S{1,256}$/),
  v.check((audience) => audience !== "account", "must not be account, which is in every token of the realm"),
);

/** Which of its users a channel takes. */
export interface ChannelRule {
  readonly roles: readonly string[];
  readonly clients: readonly string[];
}

const names = v.pipe(
  list(text("must be a name without spaces", /^\S{1,256}$/)),
  // Empty because a template's variable was: it would open the channel to everybody.
  v.check((given) => given.length > 0, "must name one, or be left out: then it asks for none"),
);

export const ChannelRules: Schema<ReadonlyMap<Channel, ChannelRule>> = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(isTable, "must be tables such as [channels.msf]"),
  v.check((tables) => Object.keys(tables).length > 0, "must name a channel, or be left out"),
  v.transform((tables) => new Map(Object.entries(tables))),
  v.map(
    v.pipe(v.string(), v.regex(namePattern, `must have ${nameRule}`), Channel),
    v.pipe(
      table({ roles: v.exactOptional(names), clients: v.exactOptional(names) }),
      v.transform(({ roles = [], clients = [] }) => ({ roles, clients })),
    ),
  ),
);

/** Where accepted notifications are kept. */
export type JournalChoice = { readonly kind: "memory" } | { readonly kind: "sqlite"; readonly path: string };

export const JournalUrl: Schema<JournalChoice> = v.pipe(
  v.string("must be sqlite:PATH or memory:"),
  v.trim(),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    if (dataset.value === "memory:") return { kind: "memory" } as const;
    const path = /^sqlite:(.+)$/.exec(dataset.value)?.[1];
    if (path !== undefined) return { kind: "sqlite", path } as const;
    // The rest of it is not repeated: a Redis URL has a password.
    const [scheme] = /^rediss?:\/\//.exec(dataset.value) ?? [];
    const rule = "must be sqlite:PATH or memory: (redis://… and rediss://… will be accepted by a later version)";
    addIssue({ message: scheme === undefined ? rule : `${scheme}… is not available in this version; use sqlite:PATH` });
    return NEVER;
  }),
);

export const TokenSecrets = list(
  v.pipe(
    v.string("must be a text"),
    v.check((secret) => Buffer.byteLength(secret) >= 32, "must have at least 32 bytes"),
  ),
);
