import type { Window, WindowSettings } from "../journal/window.ts";
import type { Fanout } from "./fanout.ts";

/** Tells every connection the head of the journal now and then. */
export interface Beat {
  /** The window has grown. */
  moved(): void;
  stop(): void;
}

/**
 * Without the beat a user who gets nothing would keep the place of their first connect, which leaves the window, although they
 * missed nothing. It comes after each fifth of the window, by age and by size, so that a cut shorter than four fifths can
 * always be recovered.
 */
export function createBeat(
  { journal_window_seconds, journal_window_bytes }: WindowSettings,
  { window, fanout }: { window: Pick<Window, "head" | "added_bytes">; fanout: Pick<Fanout, "announce"> },
): Beat {
  let announced = window.head();
  let announced_bytes = window.added_bytes;

  function beat(): void {
    const head = window.head();
    if (head === announced) return;
    announced = head;
    announced_bytes = window.added_bytes;
    fanout.announce(head);
  }

  const timer = setInterval(beat, (journal_window_seconds * 1000) / 5);
  return {
    moved() {
      // Not in this step: the entry that moved the head has not been written yet.
      if (window.added_bytes - announced_bytes >= journal_window_bytes / 5) queueMicrotask(beat);
    },
    stop: () => clearInterval(timer),
  };
}
