import { describe, expect, test } from "bun:test";
import { createWindow } from "../src/journal/window.ts";
import { cursorAt } from "../src/model/cursor.ts";
import type { Target } from "../src/model/entry.ts";
import { alice, b2b, bob, msf, notification } from "./support/journal-suite.ts";

/** A client says itself since when it was away: what it asks for may be all that the window holds. */

const entries = 5000;

/** A window that is full of notifications for a target, and how many of their messages were read since. */
function filled(target: Target) {
  let reads = 0;
  const window = createWindow(
    { journal_window_seconds: 300, journal_window_bytes: 1e9 },
    { epochs: [{ epoch: "e1", first: 1 }], trimmedTo: 0, entries: [] },
    () => 0,
  );
  for (let sequence = 1; sequence <= entries; sequence++) {
    const place = { sequence, cursor: cursorAt("e1", sequence), time_ms: 0, uptime_ms: 0 };
    window.add({
      ...notification("", target),
      ...place,
      get json() {
        reads++;
        return '"x"';
      },
    });
  }
  reads = 0;
  return { window, reads: () => reads };
}

describe("of what is too much for a replay, no more is looked at than a replay may have", () => {
  for (const [name, target] of Object.entries({
    "for the channel": { channels: [msf] },
    "for the user": { users: [alice] },
    "for users on channels": { users: [bob, alice], channels: [b2b, msf] },
  })) {
    test(name, () => {
      const { window, reads } = filled(target);
      // Each counts some bytes more than its three.
      expect(window.since(0, alice, msf, 3 * 50)).toBe("too_much");
      expect(reads()).toBeLessThanOrEqual(50);
      expect(window.since(entries - 2, alice, msf, 1000)).toHaveLength(2);
      expect(reads()).toBeLessThanOrEqual(100);
    });
  }
});
