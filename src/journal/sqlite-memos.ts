import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { Cursor } from "../model/cursor.ts";
import type { MemoTotals } from "./journal.ts";
import { blockOf, createMemoIndex, perBlock, placeOf, tagOf } from "./memo-index.ts";
import { isTooOld, memoLife_ms, sizeOf, type MemoSettings, type MemoTime, type StoredMemo } from "./memo.ts";

/** The table `memos`. Everything but `totals` is called in a transaction. */
export interface Memos {
  /** What is remembered under a name. Does not read anything for one that is not known. */
  find(name: string, at: MemoTime): StoredMemo | undefined;
  add(name: string, memo: StoredMemo, at: MemoTime): void;
  /** Forgets those that are too old or too many, the oldest first, and no more of them than this. */
  forget(atMost: number, at: MemoTime): void;
  /** Before a transaction: where it stands. `reset` takes it back there, if the transaction has failed. */
  mark(): Mark;
  reset(mark: Mark): void;
  /** At the end: a start reads what is stored, instead of each memo. */
  save(): void;
  totals(): MemoTotals;
  finalize(): void;
}

/** Numbers of memos have no gaps: they are added at the end, and go from the front. */
interface Mark {
  readonly next: number;
  /** The size of all memos that there ever were. */
  readonly end_bytes: number;
  readonly oldest: Oldest | undefined;
}

interface Oldest extends MemoTime {
  readonly id: number;
  /** The size of all memos that there ever were before it. */
  readonly before_bytes: number;
}

interface Row extends Oldest {
  readonly name: string;
  readonly fingerprint: string;
  readonly cursor: string;
  readonly outcomes: string;
}

/** In a transaction of the caller. */
export function openMemos(db: Database, settings: MemoSettings): Memos {
  const { max_idempotency_bytes } = settings;
  const life_ms = memoLife_ms(settings);
  const sql = {
    insert: db.prepare("INSERT INTO memos VALUES (?, ?, ?, ?, ?, ?, ?, ?)"),
    get: db.prepare<Row, [number]>("SELECT * FROM memos WHERE id = ?"),
    insertTags: db.prepare("INSERT OR REPLACE INTO memo_tags VALUES (?, ?)"),
    firstToKeep: db.prepare<Oldest, [number, number, number, number, number]>(
      `SELECT id, time_ms, uptime_ms, before_bytes FROM memos
       WHERE id >= ? AND id < ? AND (time_ms >= ? OR uptime_ms >= ?) AND before_bytes >= ? ORDER BY id LIMIT 1`,
    ),
    delete: db.prepare("DELETE FROM memos WHERE id < ?"),
    deleteTags: db.prepare("DELETE FROM memo_tags WHERE block < ?"),
  };
  const newest = db.query<Row, []>("SELECT * FROM memos ORDER BY id DESC LIMIT 1").get();
  let next = (newest?.id ?? 0) + 1;
  let end_bytes = newest === null ? 0 : newest.before_bytes + sizeOf(newest.name, parse(newest));
  let oldest =
    db.query<Oldest, []>("SELECT id, time_ms, uptime_ms, before_bytes FROM memos ORDER BY id LIMIT 1").get() ??
    undefined;
  const index = createMemoIndex();
  load();

  function load(): void {
    // None is left: numbers begin anew.
    if (oldest === undefined) db.run("DELETE FROM memo_tags");
    let known = oldest?.id ?? next;
    const stored = db.query<{ block: number; tags: Uint8Array<ArrayBuffer> }, [number]>(
      "SELECT * FROM memo_tags WHERE block >= ? ORDER BY block",
    );
    for (const { block, tags: bytes } of stored.all(blockOf(known))) {
      if (block !== blockOf(known)) break;
      const tags = new Float64Array(bytes.slice().buffer);
      if (block < blockOf(next)) {
        index.load(block, tags);
        known = (block + 1) * perBlock;
      } else {
        for (const tag of tags) {
          const id = block * perBlock + placeOf(tag);
          index.add(Math.floor(tag / perBlock), id);
          known = Math.max(known, id + 1);
        }
      }
    }
    // Made since the last close, if that was no close; or by an older version.
    const rest = db.query<{ id: number; name: string }, [number]>(
      "SELECT id, name FROM memos WHERE id >= ? ORDER BY id",
    );
    for (const { id, name } of rest.iterate(known)) note(name, id);
  }

  function note(name: string, id: number): void {
    index.add(tagOf(name), id);
    if (placeOf(id) === perBlock - 1) store(blockOf(id), index.seal(blockOf(id)));
  }

  function store(block: number, tags: Float64Array<ArrayBuffer>): void {
    sql.insertTags.run(block, new Uint8Array(tags.buffer));
  }

  function find(name: string, at: MemoTime): StoredMemo | undefined {
    for (const id of index.find(tagOf(name))) {
      const row = sql.get.get(id);
      if (row?.name === name) return isTooOld(row, at, life_ms) ? undefined : parse(row);
    }
    return undefined;
  }

  function add(name: string, memo: StoredMemo, { time_ms, uptime_ms }: MemoTime): void {
    const id = next++;
    sql.insert.run(id, name, memo.fingerprint, memo.cursor, time_ms, end_bytes, memo.outcomes, uptime_ms);
    oldest ??= { id, time_ms, uptime_ms, before_bytes: end_bytes };
    end_bytes += sizeOf(name, memo);
    note(name, id);
  }

  function forget(atMost: number, at: MemoTime): void {
    if (oldest === undefined) return;
    const least_bytes = end_bytes - max_idempotency_bytes;
    if (!isTooOld(oldest, at, life_ms) && oldest.before_bytes >= least_bytes) return;
    const from = oldest.id;
    const end = Math.min(from + atMost, next);
    oldest =
      sql.firstToKeep.get(from, end, at.time_ms - life_ms, at.uptime_ms - life_ms, least_bytes) ??
      sql.get.get(end) ??
      undefined;
    const left = oldest?.id ?? next;
    sql.delete.run(left);
    if (blockOf(left) !== blockOf(from)) sql.deleteTags.run(blockOf(left));
  }

  function count(): number {
    return oldest === undefined ? 0 : next - oldest.id;
  }

  return {
    find,
    add,
    forget,
    mark() {
      index.begin(blockOf(oldest?.id ?? next));
      return { next, end_bytes, oldest };
    },
    reset(mark) {
      index.undo();
      ({ next, end_bytes, oldest } = mark);
    },
    save: () => store(blockOf(next), index.newest()),
    totals: () => ({
      count: count(),
      bytes: oldest === undefined ? 0 : end_bytes - oldest.before_bytes,
      oldest_ms: oldest?.time_ms,
    }),
    finalize() {
      for (const statement of Object.values(sql)) statement.finalize();
    },
  };
}

function parse({ fingerprint, cursor, outcomes }: Row): StoredMemo {
  return { fingerprint, cursor: v.parse(Cursor, cursor), outcomes };
}
