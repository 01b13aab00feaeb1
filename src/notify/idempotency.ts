import type { Journal, Memo } from "../journal/journal.ts";
import type { Cursor } from "../model/cursor.ts";
import { sha256 } from "../model/digest.ts";
import { Problem } from "../model/problem.ts";
import { parseReceipt, type Receipt } from "./receipt.ts";

/**
 * Runs what was asked once, however often it is asked. A repeat waits for the first, which may still be under way, and gets
 * its receipt; if the first failed, the repeat is the first.
 */
export function createIdempotency(journal: Pick<Journal, "recall" | "complete">) {
  const underWay = new Map<string, { fingerprint: string; ended: Promise<void> }>();

  /** @param again the receipt for what was accepted, if the process died before it was given. */
  return async function once(
    memo: Memo,
    first: () => Promise<Receipt>,
    again: (cursor: Cursor) => Receipt,
  ): Promise<{ receipt: Receipt; replayed: boolean }> {
    const name = `${memo.scope}\n${memo.key}`;
    for (let other = underWay.get(name); other !== undefined; other = underWay.get(name)) {
      requireSame(memo, other.fingerprint);
      await other.ended;
    }
    const recalled = journal.recall(memo);
    if (recalled !== undefined) {
      requireSame(memo, recalled.fingerprint);
      const { receipt, cursor } = recalled;
      return { receipt: receipt === undefined ? again(cursor) : parseReceipt(receipt), replayed: true };
    }
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    underWay.set(name, { fingerprint: memo.fingerprint, ended });
    try {
      const receipt = await first();
      journal.complete(memo, JSON.stringify(receipt));
      return { receipt, replayed: false };
    } finally {
      underWay.delete(name);
      resolve();
    }
  };
}

function requireSame(memo: Memo, asked: string): void {
  if (memo.fingerprint !== asked) throw new Problem("idempotency_mismatch");
}

/** The header of RFC draft-ietf-httpapi-idempotency-key-header: 1–255 printable characters. */
export function idempotencyKey(key: string | null): string | undefined {
  if (key === null) return undefined;
  if (/^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/.test(key)) return key;
  throw new Problem("invalid_request", { detail: "An Idempotency-Key has 1–255 printable ASCII characters." });
}

/** What was asked, without the key that asked: a repeat may come with a rotated one of the same name. */
export function fingerprint(body: object): string {
  return sha256(JSON.stringify(body), "base64url");
}
