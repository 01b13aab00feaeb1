import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import * as v from "valibot";
import { randomEpoch } from "../src/journal/epoch.ts";
import type { Epoch } from "../src/journal/journal.ts";
import { createWindow, type Window } from "../src/journal/window.ts";
import { cursorAt, type Cursor } from "../src/model/cursor.ts";
import type { Draft, Entry, NotificationEntry, Target } from "../src/model/entry.ts";
import { Channel, KeycloakId } from "../src/model/names.ts";
import { alice, b2b, bob, msf, notification, revocation } from "./support/journal-suite.ts";
import { expectOfHistories } from "./support/history.ts";

interface WindowOptions {
  readonly seconds?: number;
  readonly bytes?: number;
  readonly now?: () => number;
  readonly trimmedTo?: number;
}
const noLimit = Infinity;

function windowOf(epochs: readonly [epoch: string, first: number][], options: WindowOptions = {}): Window {
  const { seconds = 300, bytes = 1e9, now = () => 0, trimmedTo = 0 } = options;
  const settings = { journal_window_seconds: seconds, journal_window_bytes: bytes };
  return createWindow(
    settings,
    { epochs: epochs.map(([epoch, first]) => ({ epoch, first })), trimmedTo, entries: [] },
    now,
  );
}

function entryOf(draft: Draft, sequence: number, epoch = "e1", time_ms = 0): Entry {
  return { ...draft, sequence, cursor: cursorAt(epoch, sequence), time_ms, uptime_ms: time_ms };
}

function addAll(window: Window, from: number, to: number, draft: Draft = notification("x")): void {
  for (let sequence = from; sequence <= to; sequence++) window.add(entryOf(draft, sequence));
}

function at(epoch: string, sequence: number): Cursor {
  return cursorAt(epoch, sequence);
}

/** What entries count together, found by asking: what a window takes into account is its own affair. */
function sizeOf(...entries: readonly Entry[]): number {
  const scale = windowOf([["e1", 1]]);
  for (const entry of entries) scale.add(entry);
  return scale.bytes;
}

/** What so many of one kind count. */
function sizeOfAll(count: number, draft: Draft): number {
  return sizeOf(...Array.from({ length: count }, (_, i) => entryOf(draft, i + 1)));
}

function sequencesOf(found: readonly NotificationEntry[] | string): readonly number[] | string {
  return typeof found === "string" ? found : found.map(({ sequence }) => sequence);
}

describe("a cursor", () => {
  test("is good from the one before an epoch's first entry to the newest", () => {
    const window = windowOf([["e1", 1]]);
    expect(window.locate(at("e1", 0))).toBe(0);
    expect(window.locate(at("e1", 1))).toBeUndefined();
    addAll(window, 1, 3);
    for (const sequence of [0, 1, 2, 3]) expect(window.locate(at("e1", sequence))).toBe(sequence);
    expect(sequencesOf(window.since(0, alice, msf, noLimit))).toEqual([1, 2, 3]);
    expect(sequencesOf(window.since(3, alice, msf, noLimit))).toEqual([]);
  });

  test("beyond what the journal holds is not good: it is of a copy that was lost", () => {
    const window = windowOf([["e1", 1]]);
    addAll(window, 1, 3);
    expect(window.locate(at("e1", 4))).toBeUndefined();
    expect(window.locate(at("e1", 999_999_999_999_999))).toBeUndefined();
  });

  test("beyond what the journal holds under its epoch is not good, though a later epoch has gone past it", () => {
    const window = windowOf([
      ["e1", 1],
      ["e2", 3],
    ]);
    addAll(window, 1, 2);
    addAll(window, 3, 9);
    expect(window.locate(at("e1", 2))).toBe(2);
    expect(window.locate(at("e1", 3))).toBeUndefined();
    expect(window.locate(at("e1", 9))).toBeUndefined();
    expect(window.locate(at("e2", 9))).toBe(9);
  });

  test("of an unknown epoch is not good, whatever its sequence", () => {
    const window = windowOf([["e1", 1]]);
    addAll(window, 1, 3);
    for (const sequence of [0, 1, 3, 4]) expect(window.locate(at("e2", sequence))).toBeUndefined();
    expect(window.locate(at("E1".toLowerCase() + "x", 1))).toBeUndefined();
  });

  test("of an epoch before its first-1 is not good; first-1 is where a client stands that came before the first entry", () => {
    const window = windowOf([
      ["e1", 1],
      ["e2", 4],
    ]);
    addAll(window, 1, 3);
    expect(window.head()).toBe(at("e2", 3));
    expect(window.locate(at("e2", 3))).toBe(3);
    expect(window.locate(at("e2", 2))).toBeUndefined();
    addAll(window, 4, 5);
    expect(window.locate(at("e2", 3))).toBe(3);
    expect(sequencesOf(window.since(3, alice, msf, noLimit))).toEqual([4, 5]);
  });

  test("of an epoch in which nothing came stands for the end of the one before it", () => {
    const window = windowOf([
      ["e1", 1],
      ["e2", 4],
      ["e3", 4],
    ]);
    addAll(window, 1, 5);
    expect(window.locate(at("e1", 3))).toBe(3);
    expect(window.locate(at("e2", 3))).toBe(3);
    expect(window.locate(at("e2", 4))).toBeUndefined();
    expect(window.locate(at("e3", 4))).toBe(4);
  });

  test("just at the edge of what was trimmed is good; one before it is located, and gone", () => {
    const window = windowOf([["e1", 1]], { bytes: sizeOfAll(3, notification("x")) });
    addAll(window, 1, 5);
    expect(window.trimmedTo).toBe(2);
    expect(sequencesOf(window.since(2, alice, msf, noLimit))).toEqual([3, 4, 5]);
    expect(window.locate(at("e1", 1))).toBe(1);
    expect(window.since(1, alice, msf, noLimit)).toBe("trimmed");
  });

  test("from before the window is gone even if nothing that was trimmed was for its user", () => {
    const window = windowOf([["e1", 5]], { trimmedTo: 4 });
    expect(sequencesOf(window.since(4, bob, b2b, noLimit))).toEqual([]);
    expect(window.since(3, bob, b2b, noLimit)).toBe("trimmed");
  });

  test("that the window gives out as its head is good, even if what was last in the journal is gone from it", () => {
    // A journal whose newest entries are in the window no more, such as old revocations: the next sequence is stored.
    const window = windowOf(
      [
        ["e1", 1],
        ["e2", 8],
      ],
      { trimmedTo: 2 },
    );
    for (const sequence of [3, 4, 5]) window.add(entryOf(notification(sequence), sequence));
    expect(window.head()).toBe(at("e2", 7));
    expect(window.last).toBe(7);
    expect(window.locate(window.head())).toBe(7);
    expect(window.locate(at("e1", 7))).toBe(7);
    window.add(entryOf(notification(8), 8, "e2"));
    expect(window.locate(window.head())).toBe(8);
    expect(sequencesOf(window.since(4, alice, msf, noLimit))).toEqual([5, 8]);
  });

  test("with sequences up to the largest that can be written works", () => {
    const window = windowOf([["e1", 999_999_999_999_990]], { trimmedTo: 999_999_999_999_989 });
    addAll(window, 999_999_999_999_990, 999_999_999_999_999);
    expect(window.locate(window.head())).toBe(999_999_999_999_999);
    expect(window.since(999_999_999_999_989, alice, msf, noLimit)).toHaveLength(10);
  });
});

describe("a replay", () => {
  const targets: Target[] = [
    { channels: [msf] },
    { users: [alice] },
    { channels: [b2b, msf] },
    { users: [bob, alice], channels: [msf] },
    { users: [alice], channels: [b2b] },
    { users: [bob] },
    { users: [alice, bob], channels: [b2b, msf] },
    { channels: [b2b] },
  ];

  function filled(): Window {
    const window = windowOf([["e1", 1]]);
    for (const [i, target] of [...targets, ...targets].entries()) window.add(entryOf(notification(i, target), i + 1));
    return window;
  }

  test("has what came for the channel, for the user, and for both, in the journal's order, each entry once", () => {
    const window = filled();
    expect(sequencesOf(window.since(0, alice, msf, noLimit))).toEqual([1, 2, 3, 4, 7, 9, 10, 11, 12, 15]);
    expect(sequencesOf(window.since(3, alice, msf, noLimit))).toEqual([4, 7, 9, 10, 11, 12, 15]);
    expect(sequencesOf(window.since(0, alice, b2b, noLimit))).toEqual([2, 3, 5, 7, 8, 10, 11, 13, 15, 16]);
    expect(sequencesOf(window.since(0, bob, msf, noLimit))).toEqual([1, 3, 4, 6, 7, 9, 11, 12, 14, 15]);
  });

  test("has nothing of other users, and nothing that is not a notification", () => {
    const window = windowOf([["e1", 1]]);
    window.add(entryOf(notification("bob's", { users: [bob] }), 1));
    window.add(entryOf(revocation(alice, 1), 2));
    expect(window.since(0, alice, msf, noLimit)).toEqual([]);
    // It counts all the same: a cursor may stand on it.
    expect(window.head()).toBe(at("e1", 2));
  });

  test("takes a user for no channel of the same name", () => {
    const window = windowOf([["e1", 1]]);
    window.add(entryOf(notification("channel", { channels: [v.parse(Channel, "alice")] }), 1));
    window.add(entryOf(notification("user", { users: [v.parse(KeycloakId, "msf")] }), 2));
    expect(window.since(0, alice, msf, noLimit)).toEqual([]);
  });

  test("is not changed by what comes or goes after it was asked for", () => {
    const window = windowOf([["e1", 1]], { bytes: sizeOfAll(3, notification("x")) });
    addAll(window, 1, 3);
    const before = window.since(0, alice, msf, noLimit);
    addAll(window, 4, 20);
    expect(sequencesOf(before)).toEqual([1, 2, 3]);
  });

  test("over the limit is too much, and not a part of it", () => {
    const window = windowOf([["e1", 1]]);
    addAll(window, 1, 10, notification("x".repeat(1000)));
    // What is around the message on its way counts a little, and is nobody's business here.
    expect(window.since(0, alice, msf, 9_900)).toBe("too_much");
    expect(window.since(1, alice, msf, 9_000)).toBe("too_much");
    expect(window.since(2, alice, msf, 10_000)).toHaveLength(8);
    expect(window.since(0, bob, b2b, 0)).toEqual([]);
    expect(window.since(10, alice, msf, 0)).toEqual([]);
  });

  test("is measured in bytes as they are sent, not in characters", () => {
    const window = windowOf([["e1", 1]]);
    addAll(window, 1, 10, notification("漢".repeat(1000)));
    expect(sequencesOf(window.since(0, alice, msf, 29_000))).toBe("too_much");
    expect(window.since(0, alice, msf, 32_000)).toHaveLength(10);
  });

  test("of very many very small notifications is too much as well: each has its frame", () => {
    const window = windowOf([["e1", 1]]);
    addAll(window, 1, 10_000, notification(1));
    expect(typeof window.since(0, alice, msf, 100_000)).toBe("string");
  });

  test("touches only what is for its user or its channel, and of that only what it returns, and a few to find it", () => {
    const touched = new Set<number>();
    const watched = (entry: NotificationEntry): NotificationEntry =>
      new Proxy(entry, {
        get(target, key, receiver) {
          touched.add(target.sequence);
          return Reflect.get(target, key, receiver);
        },
      });
    const window = windowOf([["e1", 1]]);
    const many = 20_000;
    const mine = new Set<number>();
    for (let sequence = 1; sequence <= many; sequence++) {
      const isForAlice = sequence % 10 === 0;
      if (isForAlice) mine.add(sequence);
      const target: Target = isForAlice
        ? sequence % 20 === 0
          ? { users: [alice] }
          : { channels: [msf] }
        : sequence % 2 === 0
          ? { users: [v.parse(KeycloakId, `user-${sequence % 100}`), bob] }
          : { channels: [b2b] };
      const place = { sequence, cursor: at("e1", sequence), time_ms: 0, uptime_ms: 0 };
      window.add(watched({ ...notification(sequence, target), ...place }));
    }
    touched.clear();
    const found = sequencesOf(window.since(many - 100, alice, msf, noLimit));
    expect(found).toEqual([...mine].slice(-10));
    expect([...touched].filter((sequence) => !mine.has(sequence))).toEqual([]);
    // Ten that are returned, and twice a bisection of a list of a thousand.
    expect(touched.size).toBeLessThanOrEqual(10 + 2 * 11);
    touched.clear();
    window.locate(at("e1", many / 2));
    expect(window.head()).toBe(at("e1", many));
    expect(touched.size).toBe(0);
  });
});

describe("the window", () => {
  test("drops the oldest when it has too many bytes, and as few as need be", () => {
    const draft = notification("x".repeat(500), { users: [alice, bob], channels: [msf] });
    const window = windowOf([["e1", 1]], { bytes: sizeOfAll(10, draft) });
    addAll(window, 1, 10, draft);
    expect(window).toMatchObject({ entries: 10, trimmedTo: 0 });
    addAll(window, 11, 11, draft);
    expect(window).toMatchObject({ entries: 10, trimmedTo: 1, last: 11 });
    // One larger than all that may be kept: nothing is left, but the head is known.
    window.add(entryOf(notification("x".repeat(100_000)), 12));
    expect(window).toMatchObject({ entries: 0, bytes: 0, trimmedTo: 12, last: 12, oldest_ms: undefined });
    expect(window.locate(window.head())).toBe(12);
    expect(window.since(12, alice, msf, noLimit)).toEqual([]);
    expect(window.since(11, alice, msf, noLimit)).toBe("trimmed");
  });

  test("drops what is older than its seconds when it is told to, and nothing younger", () => {
    let now_ms = 0;
    const window = windowOf([["e1", 1]], { seconds: 10, now: () => now_ms });
    for (let i = 1; i <= 5; i++) window.add(entryOf(notification(i), i, "e1", i * 1000));
    now_ms = 12_000;
    window.trim();
    expect(window).toMatchObject({ entries: 4, trimmedTo: 1, oldest_ms: 2000 });
    now_ms = 12_001;
    window.trim();
    expect(window).toMatchObject({ entries: 3, trimmedTo: 2, oldest_ms: 3000 });
    now_ms = 1e9;
    window.trim();
    expect(window).toMatchObject({ entries: 0, bytes: 0, trimmedTo: 5, last: 5, oldest_ms: undefined });
  });

  test("needs an epoch", () => {
    expect(() => windowOf([])).toThrow("epoch");
  });
});

/** A life of a journal, all that it ever took included; what of it was trimmed is only a number. */
interface Life {
  line: Entry[];
  epochs: Epoch[];
  trimmedTo: number;
}

/** What a cursor was when it was given out: the entry up to which its holder has all, in the life that gave it. */
type Given = Map<Cursor, Entry | undefined>;

/** The same promises as the window's, by looking at everything each time. */
class Naive implements Life {
  line: Entry[] = [];
  epochs: Epoch[] = [];
  trimmedTo = 0;
  readonly given: Given = new Map();
  now_ms = 0;
  readonly limits: { seconds: number; bytes: number };

  constructor(limits: { seconds: number; bytes: number }) {
    this.limits = limits;
    this.begin();
  }

  begin(): void {
    this.epochs = [...this.epochs, { epoch: randomEpoch(), first: this.line.length + 1 }];
    this.give();
  }

  head(): Cursor {
    return cursorAt(this.epochs.at(-1)?.epoch ?? "", this.line.length);
  }

  give(): void {
    this.given.set(this.head(), this.line.at(-1));
  }

  kept(): Entry[] {
    return this.line.slice(this.trimmedTo);
  }

  append(draft: Draft): Entry {
    const sequence = this.line.length + 1;
    const entry = entryOf(draft, sequence, this.epochs.at(-1)?.epoch, this.now_ms);
    this.line = [...this.line, entry];
    this.give();
    while (this.bytes() > this.limits.bytes) this.trimmedTo++;
    return entry;
  }

  bytes(): number {
    return sizeOf(...this.kept());
  }

  trim(): void {
    const young = (entry: Entry) => entry.time_ms >= this.now_ms - this.limits.seconds * 1000;
    while (this.trimmedTo < this.line.length && !this.kept().slice(0, 1).every(young)) this.trimmedTo++;
  }

  /** Good is a cursor that this line gave out, or that an ancestor of it gave out before they parted. */
  locate(cursor: Cursor): number | undefined {
    if (!this.given.has(cursor)) return undefined;
    const [epoch] = cursor.split("-");
    if (!this.epochs.some((known) => known.epoch === epoch)) return undefined;
    const upTo = this.given.get(cursor);
    if (upTo === undefined) return 0;
    return this.line[upTo.sequence - 1] === upTo ? upTo.sequence : undefined;
  }

  since(sequence: number, user: KeycloakId, channel: Channel): number[] | "trimmed" {
    if (sequence < this.trimmedTo) return "trimmed";
    return this.line
      .slice(sequence)
      .filter((entry) => {
        if (entry.kind !== "notification") return false;
        const { users, channels } = entry.target;
        return (users?.includes(user) ?? true) && (channels?.includes(channel) ?? true);
      })
      .map((entry) => entry.sequence);
  }
}

const users = ["alice", "bob", "carol", "dora"].map((name) => v.parse(KeycloakId, name));
const channels = ["msf", "b2b", "admin"].map((name) => v.parse(Channel, name));

function textOf(entry: Entry | undefined): string {
  return entry?.kind === "notification" ? entry.json : "";
}

const draft: fc.Arbitrary<Draft> = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom(...users).map((user) => revocation(user, 1)) },
  {
    weight: 9,
    arbitrary: fc
      .record({
        // Mostly short, so that some replays fit into a backlog.
        length: fc.oneof(fc.nat(100), fc.nat(2000)),
        forUsers: fc.subarray(users),
        onChannels: fc.subarray(channels),
      })
      .map(({ length, forUsers, onChannels }) =>
        notification("x".repeat(length), {
          ...(forUsers.length > 0 && { users: forUsers }),
          ...((forUsers.length === 0 || onChannels.length > 0) && {
            channels: onChannels.length > 0 ? onChannels : channels,
          }),
        }),
      ),
  },
);

/** What a client comes back with. */
const question = fc.record({
  cursor: fc.oneof(
    // One that was given out, so many before the last, mostly few.
    { weight: 6, arbitrary: fc.record({ back: fc.oneof(fc.nat(20), fc.nat(200)) }) },
    // One that was perhaps never given out: of a late epoch, so far from its first.
    { weight: 2, arbitrary: fc.record({ epoch: fc.nat(3), from: fc.integer({ min: -6, max: 6 }) }) },
    { weight: 1, arbitrary: fc.record({ unknown: fc.nat(10) }) },
  ),
  user: fc.constantFrom(...users),
  channel: fc.constantFrom(...channels),
  limit: fc.oneof({ weight: 2, arbitrary: fc.constant(noLimit) }, { weight: 1, arbitrary: fc.nat(8000) }),
});

const step = fc.record({
  act: fc.oneof(
    { weight: 55, arbitrary: fc.record({ append: draft }) },
    {
      weight: 25,
      arbitrary: fc.record({
        passes_ms: fc.oneof(fc.constantFrom(0, 1000, 2000), fc.nat(2000)),
        isTidied: fc.boolean(),
      }),
    },
    // The journal's file is copied, the service starts anew, or starts with the copy that was made so many before the last.
    { weight: 5, arbitrary: fc.constant("copy") },
    { weight: 4, arbitrary: fc.constant("restart") },
    { weight: 6, arbitrary: fc.record({ rewind: fc.nat(4) }) },
  ),
  questions: fc.array(question, { maxLength: 3 }),
});

type Question = typeof question extends fc.Arbitrary<infer T> ? T : never;

function cursorOf(model: Naive, asked: Question["cursor"]): Cursor {
  if ("back" in asked) {
    const given = [...model.given.keys()];
    return given.at(-1 - (asked.back % given.length)) ?? model.head();
  }
  if ("unknown" in asked) return cursorAt(randomEpoch(), asked.unknown);
  const { epoch, first } = model.epochs.at(-1 - asked.epoch) ?? { epoch: randomEpoch(), first: 1 };
  return cursorAt(epoch, Math.max(0, first + asked.from));
}

test("whatever is appended, trimmed, restarted and rewound, the window answers as the naive model does", () => {
  const seen = {
    located: 0,
    unknown: 0,
    lost: 0,
    trimmed: 0,
    tooMuch: 0,
    replayed: 0,
    empty: 0,
    restarts: 0,
    rewinds: 0,
  };
  expectOfHistories(step, 150, (steps) => {
    const model = new Naive({ seconds: 10, bytes: 12_000 });
    const reload = (): Window => {
      const { seconds, bytes } = model.limits;
      const { epochs, trimmedTo } = model;
      const settings = { journal_window_seconds: seconds, journal_window_bytes: bytes };
      return createWindow(settings, { epochs, trimmedTo, entries: model.kept() }, () => model.now_ms);
    };
    let window = reload();
    const copies: Life[] = [];
    for (const { act, questions } of steps) {
      if (act === "copy") {
        copies.push({ line: model.line, epochs: model.epochs, trimmedTo: model.trimmedTo });
      } else if (act === "restart") {
        model.begin();
        seen.restarts++;
        window = reload();
      } else if ("append" in act) {
        window.add(model.append(act.append));
      } else if ("rewind" in act) {
        const copy = copies.at(-1 - act.rewind);
        if (copy === undefined) continue;
        Object.assign(model, copy);
        model.begin();
        seen.rewinds++;
        window = reload();
      } else {
        model.now_ms += act.passes_ms;
        if (act.isTidied) {
          model.trim();
          window.trim();
        }
      }
      model.give();
      expect(window).toMatchObject({
        last: model.line.length,
        trimmedTo: model.trimmedTo,
        entries: model.line.length - model.trimmedTo,
        bytes: model.bytes(),
        oldest_ms: model.kept()[0]?.time_ms,
      });
      expect(window.head()).toBe(model.head());
      for (const asked of questions) ask(window, model, asked);
    }
  });

  function ask(window: Window, model: Naive, { cursor: asked, user, channel, limit }: Question): void {
    const cursor = cursorOf(model, asked);
    const located = model.locate(cursor);
    expect([cursor, window.locate(cursor)]).toEqual([cursor, located]);
    if (located === undefined) {
      seen[model.given.has(cursor) ? "lost" : "unknown"]++;
      return;
    }
    seen.located++;
    const expected = model.since(located, user, channel);
    const found = window.since(located, user, channel, limit);
    if (typeof expected !== "string" && limit !== noLimit) {
      const bytes = expected.reduce((sum, sequence) => sum + textOf(model.line[sequence - 1]).length, 0);
      // What is around a message on its way counts something as well: not nothing, and not more than this.
      if (found === "too_much") {
        expect(bytes + expected.length * 200).toBeGreaterThan(limit);
        seen.tooMuch++;
        return;
      }
      expect(bytes).toBeLessThanOrEqual(limit);
    }
    expect([cursor, user, channel, sequencesOf(found)]).toEqual([cursor, user, channel, expected]);
    seen[expected === "trimmed" ? "trimmed" : expected.length === 0 ? "empty" : "replayed"]++;
    // What is replayed is what was appended, and not merely something with its number.
    if (typeof found !== "string") {
      expect(found.every((entry) => model.line[entry.sequence - 1] === entry)).toBe(true);
    }
  }

  // Histories that never came by a rule have not tested it.
  for (const [what, times] of Object.entries(seen)) expect([what, times > 20]).toEqual([what, true]);
});
