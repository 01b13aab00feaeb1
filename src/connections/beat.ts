import type { Window, WindowSettings } from "../journal/window.ts";
import type { Entry } from "../model/entry.ts";
import type { Fanout } from "./fanout.ts";

/** Tells every connection the head of the journal now and then. */
export interface Beat {
  moved(entry: Entry): void;
  stop(): void;
}

/**
 * Without the beat a user who gets nothing would keep the place of their first connect, which leaves the window, although they
 * missed nothing. It comes after each fifth of the window, by age and by size, so that a cut shorter than four fifths can
 * always be recovered.
 */
export function createBeat(
  { journal_window_seconds, journal_window_bytes }: WindowSettings,
  { window, fanout }: { window: Window; fanout: Fanout },
): Beat {
  let announced = window.head();
  let bytes = 0;

  function beat(): void {
    const head = window.head();
    if (head === announced) return;
    announced = head;
    bytes = 0;
    fanout.announce(head);
  }

  const timer = setInterval(beat, (journal_window_seconds * 1000) / 5);
  return {
    moved(entry) {
      bytes += entry.kind === "notification" ? entry.json.length : 0;
      // Not in this step: the entry that moved the head has not been written yet.
      if (bytes >= journal_window_bytes / 5) queueMicrotask(beat);
    },
    stop: () => clearInterval(timer),
  };
}
