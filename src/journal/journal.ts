import type { ClockState, Keeper } from "../clock/clock.ts";
import type { Cursor } from "../model/cursor.ts";
import type { Draft, Entry, NotificationEntry, Outcome, RevocationEntry } from "../model/entry.ts";
import type { KeycloakId } from "../model/names.ts";

/**
 * The one order of everything that all nodes must see. Accepted means: in the journal. Every node follows it, its own
 * entries included, so there is one way for an entry from `append` to a connection and no second bus beside it.
 */
export interface Journal extends Keeper {
  /** What an earlier life of the journal left, as it was when it was opened. */
  readonly history: History;
  /**
   * Resolves when the entry is durable and was handed over; `outcome` is what the follower answered. A memo becomes durable
   * with it. Throws the problem `unavailable` if it could not be made durable: then nobody gets it.
   */
  append(draft: Draft, memo?: Memo): Promise<Appended>;
  /** Sets the follower, which is called with each entry in journal order, synchronously. Before the first `append`. */
  follow(follower: Follower): void;
  /** What was stored under a memo's name in the last 24 hours. */
  recall(name: MemoName): Recalled | undefined;
  /** Adds the answer to a memo. Durable soon, not at once: without it the answer is made anew. */
  complete(name: MemoName, receipt: string): void;
  /** Forgets held notifications that their users have. Durable soon: whoever has one twice had it at least once. */
  release(user: KeycloakId, sequences: readonly number[]): void;
  /** Drops what nobody can ask for any more: entries up to a sequence that are not held, and old memos. */
  trim(upTo: number): void;
  health(): JournalHealth;
  /** What it takes on the disk. */
  size_bytes(): number;
  /** Makes durable what is pending, and gives the journal free for a successor. From then on nothing is accepted. */
  close(): Promise<void>;
}

/** A life of the process that wrote the journal; its sequences begin at `first`. */
export interface Epoch {
  readonly epoch: string;
  readonly first: number;
}

export interface History {
  /** In order; the last is the current one. */
  readonly epochs: readonly Epoch[];
  /** The window's entries, in order, without a gap from `trimmedTo` on. */
  readonly entries: readonly Entry[];
  readonly trimmedTo: number;
  /** Held notifications and the users who have not got them yet, in order. */
  readonly held: readonly { readonly entry: NotificationEntry; readonly users: readonly KeycloakId[] }[];
  readonly revocations: readonly RevocationEntry[];
  readonly clock: ClockState;
  /** Kept in the journal, so that websocket tokens outlive a restart. */
  readonly tokenSecret: string;
}

export interface Appended {
  readonly cursor: Cursor;
  readonly outcome: Outcome;
}

export type Follower = (entry: Entry) => Outcome;

/** An Idempotency-Key, in the scope of an API key's name. */
export interface MemoName {
  readonly scope: string;
  readonly key: string;
}

export interface Memo extends MemoName {
  /** What was asked: another one under the same name is a mistake. */
  readonly fingerprint: string;
}

export interface Recalled {
  readonly fingerprint: string;
  readonly cursor: Cursor;
  /** Undefined if the process died between the commit and the answer. */
  readonly receipt: string | undefined;
}

export interface JournalHealth {
  readonly status: "ok" | "unavailable";
  readonly reason?: string | undefined;
}

export const memoLife_ms = 24 * 60 * 60 * 1000;
