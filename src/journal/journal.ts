import type { Cursor } from "../model/cursor.ts";
import type { Draft, Entry, Outcome } from "../model/entry.ts";

/**
 * The one order of everything that all nodes must see. Accepted means: in the journal. Every node follows it, its own
 * entries included, so there is one way for an entry from `append` to a connection and no second bus beside it.
 */
export interface Journal {
  /**
   * Resolves when the entry is durable and was handed over; `outcome` is what the followers answered.
   * Throws the problem `unavailable` if it could not be made durable: then nobody gets it.
   */
  append(draft: Draft): Promise<Appended>;
  /** Registers the follower, which is called with each entry in journal order, synchronously. One, set before `append`. */
  follow(follower: Follower): void;
  close(): Promise<void>;
}

export interface Appended {
  readonly cursor: Cursor;
  readonly outcome: Outcome;
}

export type Follower = (entry: Entry) => Outcome;
