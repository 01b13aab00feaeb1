import type { Cursor } from "../model/cursor.ts";
import { Problem } from "../model/problem.ts";

/** An Idempotency-Key in the scope of an API key's name, and what was asked under it. */
export interface Memo {
  readonly scope: string;
  readonly key: string;
  readonly fingerprint: string;
}

export interface IdempotencyNeeds<R> {
  readonly recall: (memo: Memo) => { fingerprint: string; cursor: Cursor; receipt: string | undefined } | undefined;
  readonly complete: (memo: Memo, receipt: string) => void;
  readonly parse: (receipt: string) => R;
}

/**
 * Runs what was asked once, however often it is asked. A repeat waits for the first, which may still be under way, and gets
 * its receipt; if the first failed, the repeat is the first.
 */
export function createIdempotency<R extends object>(needs: IdempotencyNeeds<R>) {
  const underWay = new Map<string, { fingerprint: string; ended: Promise<void> }>();

  /** @param again the receipt for what was accepted, if the process died before it was given. */
  return async function once(
    memo: Memo,
    first: () => Promise<R>,
    again: (cursor: Cursor) => R,
  ): Promise<{ receipt: R; replayed: boolean }> {
    const name = `${memo.scope}\n${memo.key}`;
    for (let other = underWay.get(name); other !== undefined; other = underWay.get(name)) {
      requireSame(memo, other.fingerprint);
      await other.ended;
    }
    const recalled = needs.recall(memo);
    if (recalled !== undefined) {
      requireSame(memo, recalled.fingerprint);
      const { receipt, cursor } = recalled;
      return { receipt: receipt === undefined ? again(cursor) : needs.parse(receipt), replayed: true };
    }
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    underWay.set(name, { fingerprint: memo.fingerprint, ended });
    try {
      const receipt = await first();
      needs.complete(memo, JSON.stringify(receipt));
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
export function idempotencyKey(headers: Headers): string | undefined {
  const key = headers.get("idempotency-key");
  if (key === null) return undefined;
  if (/^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/.test(key)) return key;
  throw new Problem("invalid_request", { detail: "An Idempotency-Key has 1–255 printable ASCII characters." });
}

/** What was asked, without the key that asked: a repeat may come with a rotated one of the same name. */
export function fingerprint(body: object): string {
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(body)).digest("base64url");
}
