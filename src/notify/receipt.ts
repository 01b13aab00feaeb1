import * as v from "valibot";
import { Cursor } from "../model/cursor.ts";
import type { Outcome } from "../model/entry.ts";
import { KeycloakId } from "../model/names.ts";

/** The answer of `POST /notify`. Stored with an Idempotency-Key, and therefore parsed again. */
const Receipt = v.object({
  /** The notification's cursor. */
  id: Cursor,
  /** How many connections it matched, on all nodes, in the step that handed it to them. */
  connections: v.number(),
  /** Those of the named users who had none. */
  offline: v.array(KeycloakId),
  /** It waits for at least one of them. */
  held: v.boolean(),
});
export type Receipt = v.InferOutput<typeof Receipt>;

export function receiptOf({ cursor, outcome }: { cursor: Cursor; outcome: Outcome }, ttl_seconds: number): Receipt {
  const { connections, offline } = outcome;
  return { id: cursor, connections, offline: [...offline], held: ttl_seconds > 0 && offline.length > 0 };
}

export function parseReceipt(text: string): Receipt {
  return v.parse(Receipt, JSON.parse(text));
}
