import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { Cursor } from "../model/cursor.ts";
import type { MemoTotals } from "./journal.ts";
import { createMemoIndex, tagOf } from "./memo-index.ts";
import { memoLife_ms, sizeOf, type MemoSettings, type StoredMemo } from "./memo.ts";

/** The table `memos`. Everything but `totals` is called in a transaction. */
export interface Memos {
  /** What is remembered under a name. Does not read anything for one that is not known. */
  find(name: string, now_ms: number): StoredMemo | undefined;
  add(name: string, memo: StoredMemo, time_ms: number): void;
  /** Forgets those that are too old or too many, the oldest first, and no more of them than this. */
  forget(atMost: number, now_ms: number): void;
  /** Where it stands; `reset` takes it back there, after the transaction has failed. */
  mark(): Mark;
  reset(mark: Mark): void;
  totals(): MemoTotals;
  finalize(): void;
}

/** Numbers of memos have no gaps: they are added at the end, and go from the front. */
interface Mark {
  readonly next: number;
  /** The size of all memos that there ever were. */
  readonly end_bytes: number;
  readonly oldest: Oldest | undefined;
  readonly tags: Uint32Array<ArrayBuffer>;
}

interface Oldest {
  readonly id: number;
  readonly time_ms: number;
  /** The size of all memos that there ever were before it. */
  readonly before_bytes: number;
}

interface Row extends Oldest {
  readonly name: string;
  readonly fingerprint: string;
  readonly cursor: string;
  readonly outcomes: string;
}

/** Tags are stored together by so many, so that a start reads them instead of the memos. */
const block = 4096;

/** In a transaction of the caller. */
export function openMemos(db: Database, settings: MemoSettings): Memos {
  const { max_idempotency_bytes } = settings;
  const life_ms = memoLife_ms(settings);
  const sql = {
    insert: db.prepare("INSERT INTO memos VALUES (?, ?, ?, ?, ?, ?, ?)"),
    get: db.prepare<Row, [number]>("SELECT * FROM memos WHERE id = ?"),
    insertTags: db.prepare("INSERT INTO memo_tags VALUES (?, ?)"),
    firstToKeep: db.prepare<Oldest, [number, number, number, number]>(
      `SELECT id, time_ms, before_bytes FROM memos
       WHERE id >= ? AND id < ? AND time_ms >= ? AND before_bytes >= ? ORDER BY id LIMIT 1`,
    ),
    delete: db.prepare("DELETE FROM memos WHERE id < ?"),
    deleteTags: db.prepare("DELETE FROM memo_tags WHERE block < ?"),
  };
  const newest = db.query<Row, []>("SELECT * FROM memos ORDER BY id DESC LIMIT 1").get();
  let next = (newest?.id ?? 0) + 1;
  let end_bytes = newest === null ? 0 : newest.before_bytes + sizeOf(newest.name, parse(newest));
  let oldest =
    db.query<Oldest, []>("SELECT id, time_ms, before_bytes FROM memos ORDER BY id LIMIT 1").get() ?? undefined;
  const index = createMemoIndex(count(), () => oldest?.id ?? next);
  /** Of the block that is not full yet, each at its place. A new one for each block: `reset` takes back the one before. */
  let tags = new Uint32Array(block);
  load();

  function load(): void {
    const from = oldest?.id ?? next;
    db.run("DELETE FROM memo_tags WHERE block < ? OR block >= ?", [blockOf(from), blockOf(next)]);
    const whole = db.query<{ block: number; tags: Uint8Array }, []>("SELECT * FROM memo_tags ORDER BY block");
    let known = from;
    for (const stored of whole.iterate()) {
      // Written by another version, or with a gap: their names tell.
      if (stored.block !== blockOf(known) || stored.tags.length !== block * 4) break;
      const view = new DataView(stored.tags.buffer, stored.tags.byteOffset);
      const end = (stored.block + 1) * block;
      for (; known < end; known++) index.add(view.getUint32((known % block) * 4, true), known);
    }
    db.run("DELETE FROM memo_tags WHERE block >= ?", [blockOf(known)]);
    const rest = db.query<{ id: number; name: string }, [number]>(
      "SELECT id, name FROM memos WHERE id >= ? ORDER BY id",
    );
    for (const { id, name } of rest.iterate(known)) noteTag(tagOf(name), id);
  }

  function noteTag(tag: number, id: number): void {
    index.add(tag, id);
    if (id % block === 0) tags = new Uint32Array(block);
    tags[id % block] = tag;
    if (id % block !== block - 1) return;
    const bytes = Buffer.alloc(block * 4);
    for (const [place, stored] of tags.entries()) bytes.writeUInt32LE(stored, place * 4);
    sql.insertTags.run(blockOf(id), bytes);
  }

  function find(name: string, now_ms: number): StoredMemo | undefined {
    for (const id of index.find(tagOf(name))) {
      if (id >= next) continue;
      const row = sql.get.get(id);
      if (row?.name === name) return row.time_ms >= now_ms - life_ms ? parse(row) : undefined;
    }
    return undefined;
  }

  function add(name: string, memo: StoredMemo, time_ms: number): void {
    const id = next++;
    sql.insert.run(id, name, memo.fingerprint, memo.cursor, time_ms, end_bytes, memo.outcomes);
    oldest ??= { id, time_ms, before_bytes: end_bytes };
    end_bytes += sizeOf(name, memo);
    noteTag(tagOf(name), id);
  }

  function forget(atMost: number, now_ms: number): void {
    if (oldest === undefined) return;
    const [least_ms, least_bytes] = [now_ms - life_ms, end_bytes - max_idempotency_bytes];
    if (oldest.time_ms >= least_ms && oldest.before_bytes >= least_bytes) return;
    const from = oldest.id;
    const end = Math.min(from + atMost, next);
    oldest = sql.firstToKeep.get(from, end, least_ms, least_bytes) ?? sql.get.get(end) ?? undefined;
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
    mark: () => ({ next, end_bytes, oldest, tags }),
    reset(mark) {
      ({ next, end_bytes, oldest, tags } = mark);
    },
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

function blockOf(id: number): number {
  return Math.floor(id / block);
}

function parse({ fingerprint, cursor, outcomes }: Row): StoredMemo {
  return { fingerprint, cursor: v.parse(Cursor, cursor), outcomes };
}
