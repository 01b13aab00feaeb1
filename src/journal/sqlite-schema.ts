import type { Database } from "bun:sqlite";
import { statSync } from "node:fs";
import { CannotOpen } from "./cannot-open.ts";
import { applicationId } from "./sqlite-file.ts";

/** Each step leads from the version of its index to the next. Never edited, only added to. */
const migrations = [
  `CREATE TABLE state (
     one INTEGER PRIMARY KEY CHECK (one = 1),
     next_sequence INTEGER NOT NULL, -- at least; kept up with when rows are deleted, so that none is ever given out twice
     trimmed_to INTEGER NOT NULL,    -- up to here notifications are gone, but for held ones
     token_secret TEXT NOT NULL
   ) STRICT;
   INSERT INTO state VALUES (1, 1, 0, lower(hex(randomblob(32))));
   CREATE TABLE epochs (first INTEGER NOT NULL, epoch TEXT NOT NULL UNIQUE) STRICT;
   CREATE TABLE entries (
     sequence INTEGER PRIMARY KEY,
     time_ms INTEGER NOT NULL,
     kind TEXT NOT NULL,
     body TEXT NOT NULL,             -- the target, or the revocation
     json TEXT NOT NULL,             -- the message
     ttl_seconds INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX revocations_by_time ON entries (time_ms) WHERE kind = 'revocation';
   CREATE TABLE held (sequence INTEGER NOT NULL, user TEXT NOT NULL, PRIMARY KEY (sequence, user)) STRICT, WITHOUT ROWID;
   CREATE TABLE memos (
     scope TEXT NOT NULL,
     key TEXT NOT NULL,
     fingerprint TEXT NOT NULL,
     cursor TEXT NOT NULL,
     time_ms INTEGER NOT NULL,
     receipt TEXT,
     PRIMARY KEY (scope, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX memos_by_time ON memos (time_ms);`,
  `ALTER TABLE entries ADD COLUMN uptime_ms INTEGER NOT NULL DEFAULT 0; -- service time
   ALTER TABLE state ADD COLUMN wall_ms INTEGER NOT NULL DEFAULT 0;     -- when service time was last written; 0: never
   ALTER TABLE state ADD COLUMN uptime_ms INTEGER NOT NULL DEFAULT 0;   -- service time then
   ALTER TABLE state ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0;       -- no larger one was ever given out
   ALTER TABLE state ADD COLUMN realms TEXT NOT NULL DEFAULT '{}';      -- by issuer: its realm's time minus service time`,

  // Memos: without an index on the disk, and with what is left of a receipt when the repeat itself names the users.
  `DROP INDEX memos_by_time;
   ALTER TABLE memos RENAME TO old_memos;
   CREATE TABLE memos (
     id INTEGER PRIMARY KEY,         -- the oldest goes first, and a new one comes last: no gaps
     name TEXT NOT NULL,             -- scope, line break, key
     fingerprint TEXT NOT NULL,
     cursor TEXT NOT NULL,           -- of its first entry
     time_ms INTEGER NOT NULL,
     before_bytes INTEGER NOT NULL,  -- the size of all that there ever were before it
     outcomes TEXT NOT NULL,
     uptime_ms INTEGER NOT NULL      -- service time
   ) STRICT;
   CREATE TABLE memo_tags (block INTEGER PRIMARY KEY, tags BLOB NOT NULL) STRICT;
   INSERT INTO memos
     SELECT id, name, fingerprint, cursor, time_ms,
       coalesce(sum(size) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0), outcomes,
       -1000000000000000               -- from before service time: only the wall clock says how old it is
     FROM (
       SELECT *, 48 + length(name) + length(fingerprint) + length(cursor) + length(outcomes) AS size FROM (
         SELECT row_number() OVER (ORDER BY time_ms, scope, key) AS id, scope || char(10) || key AS name,
           fingerprint, cursor, time_ms,
           -- Without a receipt: its process died before anybody was told of it.
           CASE WHEN json_valid(receipt)
             THEN json_array(json_array(receipt ->> 'connections', json(receipt -> 'offline')))
             ELSE '[[0,true]]' END AS outcomes
         FROM old_memos
       )
     );
   DROP TABLE old_memos;
   -- When it began. One without entries is forgotten when it ended too long ago for anybody to come back.
   ALTER TABLE epochs ADD COLUMN began_ms INTEGER NOT NULL DEFAULT 0;
   -- The time that the file got when it was closed; null while it is open, or if it was not closed.
   CREATE TABLE closing (one INTEGER PRIMARY KEY CHECK (one = 1), stamp_seconds INTEGER) STRICT;
   INSERT INTO closing VALUES (1, NULL);`,
] as const;

/** Brings the schema up to date, in the transaction of the caller, who has the lock. */
export function migrate(db: Database, path: string): void {
  const version = db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
  if (version > migrations.length) throw new CannotOpen(`${path} was written by a newer version of this service`);
  if (version === 0 && statSync(path).size > 0) throw new CannotOpen(`${path} is damaged: it has no schema`);
  if (version === migrations.length) return;
  for (const step of migrations.slice(version)) db.run(step);
  db.run(`PRAGMA application_id = ${applicationId}`);
  db.run(`PRAGMA user_version = ${migrations.length}`);
}

/** The most that is copied, once in a life of the file, so that it can shrink. */
const compacted_bytes = 256 * 1024 * 1024;

/**
 * A new file, and one of the first version, cannot shrink until it is written anew. (To say so before there are tables would
 * leave a file without a schema, if the process died then.) What is in use is copied, whatever the size of the file: the
 * window, and what is held. Where that fails, or is too much, the file stays as large as it is.
 */
export function compactOnce(db: Database): void {
  if (numberOf(db, "auto_vacuum") !== 0) return;
  if ((numberOf(db, "page_count") - numberOf(db, "freelist_count")) * numberOf(db, "page_size") > compacted_bytes)
    return;
  try {
    db.run("PRAGMA auto_vacuum = INCREMENTAL");
    db.run("VACUUM");
  } catch {
    // The disk is too full for a copy. The journal is as it was, and works.
  }
}

/** Gives back to the disk what the file does not use, a portion at a time, where that is much. In a transaction. */
export function shrink(db: Database): void {
  const free = numberOf(db, "freelist_count");
  if (free < spare_pages || free * 4 < numberOf(db, "page_count")) return;
  db.run(`PRAGMA incremental_vacuum(${spare_pages})`);
}

/** 1 MiB: what the journal needs again soon, and what is given back at once. */
const spare_pages = 256;

function numberOf(db: Database, pragma: "auto_vacuum" | "page_count" | "freelist_count" | "page_size"): number {
  return db.query<Record<string, number>, []>(`PRAGMA ${pragma}`).get()?.[pragma] ?? 0;
}
