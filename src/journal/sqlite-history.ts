import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { cursorAt } from "../model/cursor.ts";
import type { Entry, NotificationEntry, Revoked, Target } from "../model/entry.ts";
import { Channel, KeycloakId, SessionId } from "../model/names.ts";
import { randomEpoch } from "./epoch.ts";
import type { Epoch, History } from "./journal.ts";
import { beginClock, StoredRealms, type StoredClock } from "./sqlite-clock.ts";

/** A row of `entries`. */
export interface Row {
  sequence: number;
  time_ms: number;
  kind: string;
  body: string;
  json: string;
  ttl_seconds: number;
  uptime_ms: number;
}

/** What was written is parsed again: a restored or edited file is input like any other. */
const StoredTarget: v.GenericSchema<unknown, Target> = v.union([
  v.object({ users: v.array(KeycloakId), channels: v.optional(v.array(Channel)) }),
  v.object({ channels: v.array(Channel) }),
]);
/** Earlier versions wrote `{ session }` and `{ user, before_ms }`. */
const cut = { stamp: v.optional(v.number()), realms: v.optional(StoredRealms), before_ms: v.optional(v.number()) };
const StoredRevocation: v.GenericSchema<unknown, Revoked> = v.union([
  v.object({ session: SessionId, unlinked: v.optional(KeycloakId), ...cut }),
  v.object({ user: KeycloakId, ...cut }),
]);

/**
 * Reads what an earlier life left, and begins a new epoch. In the transaction of the caller.
 *
 * @param keep how long entries stay in the window, and revocations in force.
 */
export function beginEpoch(
  db: Database,
  now_ms: number,
  keep: { window_ms: number; revocations_ms: number },
): History & { readonly clock: StoredClock } {
  const state = db
    .query<{ next_sequence: number; trimmed_to: number; token_secret: string }, []>("SELECT * FROM state")
    .get();
  if (state === null) throw new Error("the journal has no state");
  const newest = db.query<{ sequence: number | null }, []>("SELECT max(sequence) AS sequence FROM entries").get();
  // A row goes only once `trimmed_to` has passed it, and with that the next sequence is stored: none is given out twice.
  const next = Math.max(state.next_sequence, (newest?.sequence ?? 0) + 1);
  db.query("INSERT INTO epochs (first, epoch) VALUES (?, ?)").run(next, randomEpoch());

  const clock = beginClock(db, now_ms);
  const { uptime_ms } = clock;

  // Either clock: the wall clock may have been ahead when an entry came, and service time leaves out when nobody was here.
  const tooOld = db
    .query<{ sequence: number | null }, [number, number]>(
      "SELECT max(sequence) AS sequence FROM entries WHERE time_ms < ? OR uptime_ms < ?",
    )
    .get(now_ms - keep.window_ms, uptime_ms - keep.window_ms)?.sequence;
  const trimmedTo = Math.max(state.trimmed_to, tooOld ?? 0);
  // What became too old while nobody was here: trimming goes on after it, and would never come back for it.
  db.query("UPDATE state SET trimmed_to = ?, next_sequence = ?").run(trimmedTo, next);
  db.query(
    `DELETE FROM held WHERE
       (SELECT time_ms + ttl_seconds * 1000 FROM entries WHERE entries.sequence = held.sequence) <= ?`,
  ).run(now_ms);
  db.query(
    `DELETE FROM entries WHERE sequence <= ? AND kind = 'notification'
     AND NOT EXISTS (SELECT 1 FROM held WHERE held.sequence = entries.sequence)`,
  ).run(trimmedTo);
  // Epochs that ended before the window begins: no cursor of theirs is good for anything, but for those of what is held.
  db.query(
    `DELETE FROM epochs WHERE first < ?2 AND first < (SELECT max(first) FROM epochs
       WHERE first <= min(?1, (SELECT coalesce(min(sequence), ?1) FROM held)))`,
  ).run(trimmedTo, next);
  const epochs = db.query<Epoch, []>("SELECT first, epoch FROM epochs ORDER BY first, rowid").all();
  const toEntry = (row: Row) => entryOf(row, epochs);

  return {
    epochs,
    trimmedTo,
    entries: db
      .query<Row, [number]>("SELECT * FROM entries WHERE sequence > ? ORDER BY sequence")
      .all(trimmedTo)
      .map(toEntry),
    held: heldIn(db, now_ms, toEntry),
    // Both clocks have to say that one is over.
    revocations: db
      .query<Row, [number, number]>(
        "SELECT * FROM entries WHERE kind = 'revocation' AND (time_ms >= ? OR uptime_ms >= ?) ORDER BY sequence",
      )
      .all(now_ms - keep.revocations_ms, uptime_ms - keep.revocations_ms)
      .map(toEntry)
      .filter((entry) => entry.kind === "revocation"),
    clock,
    tokenSecret: state.token_secret,
  };
}

function heldIn(db: Database, now_ms: number, toEntry: (row: Row) => Entry): History["held"] {
  const held = new Map<number, { entry: NotificationEntry; users: KeycloakId[] }>();
  const rows = db
    .query<Row & { user: string }, [number]>(
      `SELECT entries.*, held.user FROM held JOIN entries USING (sequence)
       WHERE time_ms + ttl_seconds * 1000 > ? ORDER BY sequence`,
    )
    .all(now_ms);
  for (const { user, ...row } of rows) {
    const entry = held.get(row.sequence)?.entry ?? toEntry(row);
    if (entry.kind !== "notification") continue;
    const users = held.get(row.sequence)?.users ?? [];
    users.push(v.parse(KeycloakId, user));
    held.set(row.sequence, { entry, users });
  }
  return [...held.values()];
}

export function entryOf(
  { sequence, time_ms, uptime_ms, kind, body, json, ttl_seconds }: Row,
  epochs: readonly Epoch[],
): Entry {
  // Revocations may be older than every epoch that is still known: nobody sees their cursor.
  const epoch = epochs.findLast(({ first }) => first <= sequence)?.epoch ?? "old";
  const place = { sequence, time_ms, uptime_ms, cursor: cursorAt(epoch, sequence) };
  if (kind === "revocation") return { kind, ...v.parse(StoredRevocation, JSON.parse(body)), ...place };
  return { kind: "notification", target: v.parse(StoredTarget, JSON.parse(body)), json, ttl_seconds, ...place };
}
