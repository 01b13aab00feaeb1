import * as v from "valibot";

/**
 * A place in the journal: `epoch-sequence`. Never a bare number: every process start writes a new random epoch, so that a
 * cursor of a journal that was lost or rewound is recognised instead of pointing at other notifications. Sequences run on
 * from epoch to epoch.
 */
const pattern = /^[a-z0-9]{1,32}-(0|[1-9][0-9]{0,14})$/;
export const Cursor = v.pipe(v.string(), v.regex(pattern), v.brand("Cursor"));
export type Cursor = v.InferOutput<typeof Cursor>;

export function cursorAt(epoch: string, sequence: number): Cursor {
  const cursor = `${epoch}-${sequence}`;
  if (!isCursor(cursor)) throw new Error("an epoch has letters and digits, a sequence no sign and no fraction");
  return cursor;
}

/** Without valibot: one is made for each notification. */
function isCursor(text: string): text is Cursor {
  return pattern.test(text);
}

export function partsOf(cursor: Cursor): { epoch: string; sequence: number } {
  const dash = cursor.indexOf("-");
  return { epoch: cursor.slice(0, dash), sequence: Number(cursor.slice(dash + 1)) };
}
