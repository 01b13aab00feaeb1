import type { Draft, Entry, Outcome } from "../model/entry.ts";
import type { Appended, Follower, Memo, Placed, Repeated } from "./journal.ts";

/** An `append` that waits for its turn. */
export interface Pending {
  readonly drafts: readonly Draft[];
  readonly memo: Memo | undefined;
  readonly resolve: (answer: Appended | Repeated) => void;
  readonly reject: (error: unknown) => void;
}

/** What a journal took of an `append`. */
export interface Taken {
  readonly entries: readonly Entry[];
  /** Counted before the commit, where there is a memo: the repeat and the first answer are the same. */
  readonly counted: readonly Outcome[] | undefined;
}

/** Hands entries to the follower, all of them, and answers. What the follower throws is told to this append alone. */
export function handOver({ entries, counted }: Taken, { resolve, reject }: Pending, { follow }: Follower): void {
  const failures: unknown[] = [];
  const placed = entries.map((entry, index): Placed => {
    try {
      const outcome = follow(entry);
      return { cursor: entry.cursor, outcome: counted?.[index] ?? outcome };
    } catch (error) {
      failures.push(error);
      return { cursor: entry.cursor, outcome: { connections: 0, offline: [] } };
    }
  });
  if (failures.length > 0) reject(failures[0]);
  else resolve({ kind: "appended", placed });
}

/** Reserves the room of all drafts, or of none: throws what the follower throws. */
export function reserveAll(drafts: readonly Draft[], { reserve }: Follower): () => void {
  const reserved: (() => void)[] = [];
  const giveBack = () => {
    for (const one of reserved) one();
  };
  try {
    for (const draft of drafts) reserved.push(reserve(draft));
  } catch (error) {
    giveBack();
    throw error;
  }
  return giveBack;
}
