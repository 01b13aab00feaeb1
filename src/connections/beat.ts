import type { Cursor } from "../model/cursor.ts";
import type { Entry } from "../model/entry.ts";

/**
 * Tells everybody the head of the journal now and then. Without it a user who gets nothing would keep the place of his first
 * connect, which leaves the window, although he missed nothing.
 */
export function createBeat(needs: {
  /** A fifth of the window, so that a cut shorter than four fifths can always be recovered. */
  every_ms: number;
  /** The same where the window is bounded by its size. */
  everyBytes: number;
  head: () => Cursor;
  announce: (head: Cursor) => void;
}): { moved: (entry: Entry) => void; stop: () => void } {
  let announced = needs.head();
  let bytes = 0;

  function beat(): void {
    const head = needs.head();
    if (head === announced) return;
    announced = head;
    bytes = 0;
    needs.announce(head);
  }

  const timer = setInterval(beat, needs.every_ms);
  return {
    moved(entry) {
      bytes += entry.kind === "notification" ? entry.json.length : 0;
      // Not in this step: the entry that moved the head has not been written yet.
      if (bytes >= needs.everyBytes) queueMicrotask(beat);
    },
    stop: () => clearInterval(timer),
  };
}
