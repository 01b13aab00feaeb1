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
   * Resolves when the entries are durable and were handed over, in the order of the drafts: all of them, or none. Where a
   * memo of this name is remembered, nothing is stored, and the answer is the first one. The look-up, the count, the entries
   * and the memo are one step: a memo without its answer does not exist.
   *
   * Rejects with the problem `idempotency_mismatch` if the memo stands for something else, with what the follower's `reserve`
   * throws, and with `unavailable` if the entries could not be made durable: then nobody gets them.
   */
  append(drafts: readonly Draft[], memo?: Memo): Promise<Appended | Repeated>;
  /** Sets the follower. Before the first `append`. */
  follow(follower: Follower): void;
  /** Forgets held notifications that their users have. Durable soon: whoever has one twice had it at least once. */
  release(user: KeycloakId, sequences: readonly number[]): void;
  /** Drops what nobody can ask for any more: entries up to a sequence that are not held, and old memos. */
  trim(upTo: number): void;
  health(): JournalHealth;
  /** What it takes on the disk. */
  size_bytes(): number;
  /** What it remembers of Idempotency-Keys. */
  memos(): MemoTotals;
  /** Makes durable what is pending, and gives the journal free for a successor. From then on nothing is accepted. */
  close(): Promise<void>;
  /** After `close`: whether another process accepts notifications in place of this one, now or within a moment. */
  isTakenOver(): Promise<boolean>;
}

/** What the entries of the journal are for. All of it is synchronous, and one step with the commit. */
export interface Follower {
  /**
   * Before a draft is stored: keeps the room that it will take here until the returned function is called, or throws a
   * problem because there is none. Not called for a repeat.
   */
  reserve(draft: Draft): () => void;
  /** Before a draft with a memo is stored: the outcome that it is about to have. */
  count(draft: Draft): Outcome;
  /** After the commit: called with each entry in journal order. */
  follow(entry: Entry): Outcome;
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

/** What became of one draft. */
export interface Placed {
  readonly cursor: Cursor;
  /** Where there is a memo, as it was counted before the commit; else as the follower answered. */
  readonly outcome: Outcome;
}

/** One result for each draft, in order. */
export interface Appended {
  readonly kind: "appended";
  readonly placed: readonly Placed[];
}

/** The results of an earlier append with the same memo. */
export interface Repeated {
  readonly kind: "repeated";
  readonly placed: readonly Placed[];
}

/** An Idempotency-Key, in the scope of an API key's name. Kept for `idempotency_hours`. */
export interface Memo {
  readonly scope: string;
  readonly key: string;
  /** What was asked: the same fingerprint means the same drafts, their users in the same order. */
  readonly fingerprint: string;
}

export interface MemoTotals {
  readonly count: number;
  readonly bytes: number;
  /** When the oldest of them was made. */
  readonly oldest_ms: number | undefined;
}

export interface JournalHealth {
  readonly status: "ok" | "unavailable";
  readonly reason?: string | undefined;
}
