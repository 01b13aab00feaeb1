import type { Placed } from "../journal/journal.ts";
import type { Cursor } from "../model/cursor.ts";
import type { KeycloakId } from "../model/names.ts";

/** The answer of `POST /notify`. */
export interface Receipt {
  /** The notification's cursor. */
  readonly id: Cursor;
  /** How many connections it matched, on all nodes, in the step that handed it to them. */
  readonly connections: number;
  /** Those of the named users who had none. */
  readonly offline: readonly KeycloakId[];
  /** It waits for at least one of them. */
  readonly held: boolean;
}

export function receiptOf({ cursor, outcome }: Placed, ttl_seconds: number): Receipt {
  const { connections, offline } = outcome;
  return { id: cursor, connections, offline, held: ttl_seconds > 0 && offline.length > 0 };
}
