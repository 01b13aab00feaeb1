import { expect, test } from "bun:test";
import * as fc from "fast-check";
import * as v from "valibot";
import { openingOf } from "../src/connections/opening.ts";
import { createRecovery } from "../src/connections/recovery.ts";
import { createHeld, type Held } from "../src/journal/held.ts";
import { createWindow, type Window } from "../src/journal/window.ts";
import { cursorAt, type Cursor } from "../src/model/cursor.ts";
import type { NotificationEntry } from "../src/model/entry.ts";
import { Channel, KeycloakId } from "../src/model/names.ts";
import { expectOfHistories } from "./support/history.ts";

const alice = v.parse(KeycloakId, "alice");
const bob = v.parse(KeycloakId, "bob");
const users = [alice, bob];
const msf = v.parse(Channel, "msf");
const window_seconds = 10;
const backlog_bytes = 4000;

/** What a client hands in: nothing, the place that the README keeps, the last cursor that it got, or one for ever. */
type Habit = "none" | "keeps" | "last" | "static";

type Frame =
  | { readonly kind: "connect"; readonly pid: string }
  | { readonly kind: "resumed"; readonly recovered: boolean }
  | { readonly kind: "notification"; readonly entry: NotificationEntry }
  | { readonly kind: "cursor"; readonly head: Cursor };

/** The service, as far as it is of memory: journal, window, held, and one epoch after the other. */
function createWorld() {
  const entries: NotificationEntry[] = [];
  const epochs = [{ epoch: "e0", first: 1 }];
  const owed = new Map<string, { entry: NotificationEntry; user: KeycloakId }>();
  /** User and sequence: all that ever were held, and all that has come to a page. */
  const holds = new Set<string>();
  const got = new Set<string>();
  let now_ms = 0;
  let window = openWindow(0);
  let held = openHeld();

  function openWindow(trimmedTo: number): Window {
    const kept = entries.filter(({ sequence }) => sequence > trimmedTo);
    const settings = { journal_window_seconds: window_seconds, journal_window_bytes: 1e9 };
    return createWindow(settings, { epochs: [...epochs], entries: kept, trimmedTo }, () => now_ms);
  }

  function openHeld(): Held {
    const settings = { max_held: 1e6, max_held_bytes: 1e9, max_held_per_user: 1e6, backlog_bytes };
    const before = [...owed.values()].map(({ entry, user }) => ({ entry, users: [user] }));
    const release = (user: KeycloakId, gone: readonly number[]) => {
      for (const sequence of gone) owed.delete(`${user} ${sequence}`);
    };
    const journal = { history: { held: before }, release, uptime_ms: () => now_ms };
    return createHeld(settings, { journal, events: { released() {} }, now: () => now_ms });
  }

  return {
    entries,
    get window() {
      return window;
    },
    get held() {
      return held;
    },
    /** Held notifications that nobody of their user has got, and that nobody will. */
    lost: () => [...holds].filter((key) => !owed.has(key) && !got.has(key)),
    got,
    add(to: readonly KeycloakId[], ttl_seconds: number): NotificationEntry {
      const sequence = entries.length + 1;
      const cursor = cursorAt(epochs.at(-1)?.epoch ?? "", sequence);
      const place = { sequence, cursor, time_ms: now_ms, uptime_ms: now_ms };
      const target = to.length === 0 ? { channels: [msf] } : { users: to };
      const entry: NotificationEntry = { kind: "notification", target, json: "1".repeat(200), ttl_seconds, ...place };
      entries.push(entry);
      window.add(entry);
      if (ttl_seconds > 0) {
        for (const user of to) {
          owed.set(`${user} ${sequence}`, { entry, user });
          holds.add(`${user} ${sequence}`);
        }
        held.add(entry);
      }
      return entry;
    },
    pass(seconds: number) {
      now_ms += seconds * 1000;
      window.trim();
      held.expire();
    },
    restart() {
      epochs.push({ epoch: `e${epochs.length}`, first: entries.length + 1 });
      window = openWindow(window.trimmedTo);
      held = openHeld();
    },
  };
}
type World = ReturnType<typeof createWorld>;

const isFor = ({ target }: NotificationEntry, user: KeycloakId): boolean => target.users?.includes(user) ?? true;

const sequenceOf = (cursor: unknown): number => Number(/-(\d+)$/.exec(String(cursor))?.[1] ?? -1);

/** A page, its library, and what must be true of it. */
function createClient(world: World, habit: Habit, knowsPid: boolean) {
  let user = alice;
  let pid: string | undefined;
  let offset: string | undefined;
  /** By user, as the README has it. */
  const places = new Map<KeycloakId, string>();
  /** By user: the page has everything up to here, by notifications or because it has fetched its state. */
  const covered = new Map<KeycloakId, number>();
  let fixed: string | null | undefined;
  let isReplaying = false;
  /** Of the connection: what was written, and has not arrived. Undefined: there is none. */
  let line: Frame[] | undefined;
  let newest = 0;
  let continues = 0;

  function handedIn(): string | null | undefined {
    if (habit === "none") return undefined;
    const place = places.get(user) ?? null;
    if (habit !== "static") return place;
    fixed ??= place ?? undefined;
    return fixed ?? null;
  }

  function connect(): void {
    line = undefined;
    const cursor = handedIn();
    const auth = { ...(cursor !== undefined && { cursor }), ...(knowsPid && pid !== undefined && { pid, offset }) };
    const resumption = createRecovery({ backlog_bytes }, world.window)(JSON.parse(JSON.stringify(auth)), user, msf);
    const waiting = world.held.waiting(user, msf).filter(({ sequence }) => sequence > (resumption.confirmed ?? -1));
    const { recovered, older, head } = openingOf({ user, channel: msf }, resumption, world.held);
    newest = 0;
    if (cursor !== undefined) {
      expect(recovered).toBe(resumption.recovered);
      expect(head).toBe(world.window.head());
      // Its library must not say anything else.
      if (knowsPid) expect(resumption.pid).not.toBe(pid ?? "");
      continues = Math.max(sequenceOf(cursor), knowsPid ? (resumption.confirmed ?? -1) : -1);
      const all = world.entries.filter((entry) => entry.sequence > continues && isFor(entry, user));
      const fits = all.length * 264 <= backlog_bytes / 2;
      expect(recovered).toBe(continues >= world.window.trimmedTo && fits);
      if (recovered === false) continues = world.window.last;
    } else continues = resumption.since;
    // Everything that is held is in the opening, whatever else is.
    for (const { sequence } of waiting) expect(older.map((entry) => entry.sequence)).toContain(sequence);
    line = [{ kind: "connect", pid: resumption.pid }];
    if (recovered !== undefined) line.push({ kind: "resumed", recovered });
    line.push(...older.map((entry): Frame => ({ kind: "notification", entry })));
    if (head !== undefined) line.push({ kind: "cursor", head });
  }

  function take(frame: Frame): void {
    switch (frame.kind) {
      case "connect":
        // Without the field, its library tells the page whether it is recovered, and the pid where it begins.
        if (habit === "none" && pid !== frame.pid) covered.set(user, sequenceOf(frame.pid.split(".")[0]));
        pid = frame.pid;
        return;
      case "resumed":
        isReplaying = true;
        if (!frame.recovered) covered.set(user, world.entries.length);
        else expect(covered.get(user), "a page that has no state is not recovered").toBeDefined();
        return;
      case "notification":
        return notified(frame.entry);
      case "cursor":
        isReplaying = false;
        offset = frame.head;
        places.set(user, frame.head);
        return cover(sequenceOf(frame.head));
    }
  }

  function notified({ sequence, cursor, ttl_seconds }: NotificationEntry): void {
    expect(sequence, "in order, once a connection").toBeGreaterThan(newest);
    newest = sequence;
    world.got.add(`${user} ${sequence}`);
    if (ttl_seconds === 0) expect(sequence, "nothing of before its place").toBeGreaterThan(continues);
    offset = cursor;
    if (habit === "last" || !isReplaying) places.set(user, cursor);
    if (sequence <= (covered.get(user) ?? -1)) return;
    cover(sequence - 1);
    covered.set(user, sequence);
  }

  /** Nothing is missing up to here. */
  function cover(upTo: number): void {
    const from = covered.get(user) ?? -1;
    const missing = world.entries.filter(
      (entry) => entry.sequence > from && entry.sequence <= upTo && isFor(entry, user),
    );
    expect(
      missing.map(({ sequence }) => sequence),
      "holes",
    ).toEqual([]);
    covered.set(user, Math.max(from, upTo));
  }

  return {
    connect,
    cut: () => void (line = undefined),
    become(other: KeycloakId) {
      line = undefined;
      if (habit !== "static") user = other;
    },
    deliver(entry: NotificationEntry) {
      if (isFor(entry, user)) line?.push({ kind: "notification", entry });
    },
    /** So many frames arrive. */
    receive(count: number) {
      for (const frame of line?.splice(0, count) ?? []) take(frame);
    },
    /** A heartbeat is answered. */
    confirm() {
      if (line?.length === 0) world.held.confirm(user, msf, world.entries.length);
    },
    settle() {
      if (line === undefined) connect();
      for (const frame of line?.splice(0) ?? []) take(frame);
      cover(world.entries.length);
    },
  };
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("notify"), to: fc.subarray(users), isHeld: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("connect"), who: fc.nat() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("receive"), who: fc.nat(), count: fc.nat({ max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("cut", "confirm"), who: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("become"), who: fc.nat(), user: fc.constantFrom(...users) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pass"), seconds: fc.nat({ max: 8 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart") }) },
);

test("whatever the network does, nobody has a hole, and held notifications come to each client that opens", () => {
  expectOfHistories(step, 120, (steps) => {
    const world = createWorld();
    const clients = [
      createClient(world, "none", true),
      ...(["keeps", "last", "static"] as const).flatMap((habit) => [
        createClient(world, habit, true),
        createClient(world, habit, false),
      ]),
    ];
    for (const one of steps) {
      const client = "who" in one ? clients[one.who % clients.length] : undefined;
      switch (one.do) {
        case "notify": {
          const entry = world.add(one.to, one.to.length > 0 && one.isHeld ? 1000 : 0);
          for (const each of clients) each.deliver(entry);
          break;
        }
        case "connect":
          client?.connect();
          break;
        case "receive":
          client?.receive(one.count);
          break;
        case "cut":
          client?.cut();
          break;
        case "confirm":
          client?.confirm();
          break;
        case "become":
          client?.become(one.user);
          break;
        case "pass":
          world.pass(one.seconds);
          break;
        case "restart":
          world.restart();
          for (const each of clients) each.cut();
          break;
      }
    }
    for (const each of clients) each.settle();
    expect(world.lost()).toEqual([]);
  });
});
