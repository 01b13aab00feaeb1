import type { Database } from "bun:sqlite";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { CannotOpen } from "./cannot-open.ts";

/** "AMPR": tells our files from all others, https://sqlite.org/pragma.html#pragma_application_id */
const applicationId = 0x414d5052;

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
] as const;

/**
 * Makes the file, if there is none, readable for nobody else: it holds notifications and the token secret. Refuses one that
 * is not ours by its first bytes alone (https://sqlite.org/fileformat.html#the_database_header): to open it would already
 * change it.
 */
export function prepareFile(path: string): void {
  const file = openSync(path, "a+", 0o600);
  try {
    const header = Buffer.alloc(100);
    const length = readSync(file, header, 0, header.length, 0);
    if (length === 0) return;
    const isDatabase = length === header.length && header.toString("latin1", 0, 16) === "SQLite format 3\0";
    if (!isDatabase || header.readUInt32BE(68) !== applicationId) {
      throw new CannotOpen(
        `${path} is not a journal of this service: it was left as it is. Choose another path for \`journal\``,
      );
    }
  } finally {
    closeSync(file);
  }
}

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
