import * as v from "valibot";
import { cursorAt, partsOf, type Cursor } from "../model/cursor.ts";
import type { Draft, Outcome, Place } from "../model/entry.ts";
import { KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";
import type { Memo, Repeated } from "./journal.ts";

export type MemoSettings = Pick<Settings, "idempotency_hours" | "max_idempotency_bytes">;

export function memoLife_ms({ idempotency_hours }: MemoSettings): number {
  return idempotency_hours * 60 * 60 * 1000;
}

/** When a memo was made, or is asked for. */
export type MemoTime = Pick<Place, "time_ms" | "uptime_ms">;

/** By both clocks: one that is days ahead for moments must not let a repeat be sent again. */
export function isTooOld(made: MemoTime, at: MemoTime, life_ms: number): boolean {
  return made.time_ms < at.time_ms - life_ms && made.uptime_ms < at.uptime_ms - life_ms;
}

/** A memo as it is remembered. The outcomes of its drafts are one short text. */
export interface StoredMemo {
  readonly fingerprint: string;
  /** Of the first draft; those of the others follow it. */
  readonly cursor: Cursor;
  readonly outcomes: string;
}

/** The one name of a memo. A scope is the name of an API key, which has no line breaks. */
export function nameOf({ scope, key }: Memo): string {
  return `${scope}\n${key}`;
}

/** What a memo takes, roughly: its texts, its numbers, its place in the index. */
export function sizeOf(name: string, { fingerprint, cursor, outcomes }: StoredMemo): number {
  return 48 + name.length + fingerprint.length + cursor.length + outcomes.length;
}

/** The answer to a repeat. Throws `idempotency_mismatch` if it asks for something else. */
export function repeat(stored: StoredMemo, memo: Memo, drafts: readonly Draft[]): Repeated {
  if (stored.fingerprint !== memo.fingerprint) throw new Problem("idempotency_mismatch");
  const { epoch, sequence } = partsOf(stored.cursor);
  const outcomes = v.parse(StoredOutcomes, JSON.parse(stored.outcomes));
  const placed = outcomes.map(([connections, offline], index) => ({
    cursor: cursorAt(epoch, sequence + index),
    outcome: { connections, offline: unpack(offline, usersOf(drafts[index])) },
  }));
  return { kind: "repeated", placed };
}

/**
 * For each draft how many connections it matched, and which of its users had none: nothing for nobody, `true` for all of
 * them, else one bit for each. The names are in the repeat itself: 1,000 of them would be 40 KB, their bits are 170 bytes.
 */
const StoredOutcomes = v.array(
  v.union([
    v.strictTuple([v.number()]),
    v.strictTuple([v.number(), v.union([v.literal(true), v.string(), v.array(KeycloakId)])]),
  ]),
);

type StoredOutcome = v.InferOutput<typeof StoredOutcomes>[number];

export function packOutcomes(drafts: readonly Draft[], outcomes: readonly Outcome[]): string {
  return JSON.stringify(outcomes.map((outcome, index) => pack(outcome, usersOf(drafts[index]))));
}

function usersOf(draft: Draft | undefined): readonly KeycloakId[] {
  return draft?.kind === "notification" ? (draft.target.users ?? []) : [];
}

function pack({ connections, offline }: Outcome, users: readonly KeycloakId[]): StoredOutcome {
  if (offline.length === 0) return [connections];
  if (offline.length === users.length && offline.every((user, index) => user === users[index]))
    return [connections, true];
  const bits = Buffer.alloc(Math.ceil(users.length / 8));
  let found = 0;
  for (const [index, user] of users.entries()) {
    if (user !== offline[found]) continue;
    bits.writeUInt8(bits.readUInt8(index >> 3) | (1 << (index & 7)), index >> 3);
    found++;
  }
  // In another order than the draft's, or of others: by name.
  if (found < offline.length) return [connections, [...offline]];
  return [connections, bits.toString("base64url")];
}

function unpack(stored: StoredOutcome[1], users: readonly KeycloakId[]): readonly KeycloakId[] {
  if (stored === undefined) return [];
  if (stored === true) return users;
  if (typeof stored !== "string") return stored;
  const bits = Buffer.from(stored, "base64url");
  return users.filter((_, index) => ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0);
}
