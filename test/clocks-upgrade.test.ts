import { afterEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { connected, next, notify, page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { apiKey, authorizeWith, start } from "./support/service.ts";

/** A journal, and tokens, of the version that knew neither stamps nor service time. */

const secret = "0123456789abcdef0123456789abcdef";
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

let realm: Realm | undefined;
afterEach(() => realm?.stop());

function oldToken(claims: { sub?: string; sid?: string }, issuedAt_ms: number): string {
  const header = part({ alg: "HS256", typ: "JWT" });
  const times = { iat: issuedAt_ms / 1000, exp: issuedAt_ms / 1000 + 36_000 };
  const signed = `${header}.${part({ iss: "amper-channels", ...claims, channels: "*", ...times })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

function oldJournal(path: string, now_ms: number): void {
  const db = new Database(path, { create: true });
  for (const statement of [
    "PRAGMA application_id = 1095585874",
    `CREATE TABLE state (
       one INTEGER PRIMARY KEY CHECK (one = 1), next_sequence INTEGER NOT NULL, trimmed_to INTEGER NOT NULL,
       token_secret TEXT NOT NULL
     ) STRICT`,
    `INSERT INTO state VALUES (1, 5, 0, '${secret}')`,
    "CREATE TABLE epochs (first INTEGER NOT NULL, epoch TEXT NOT NULL UNIQUE) STRICT",
    "INSERT INTO epochs VALUES (1, 'e1')",
    `CREATE TABLE entries (
       sequence INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
       json TEXT NOT NULL, ttl_seconds INTEGER NOT NULL
     ) STRICT`,
    "CREATE INDEX revocations_by_time ON entries (time_ms) WHERE kind = 'revocation'",
    "CREATE TABLE held (sequence INTEGER NOT NULL, user TEXT NOT NULL, PRIMARY KEY (sequence, user)) STRICT, WITHOUT ROWID",
    `CREATE TABLE memos (
       scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, cursor TEXT NOT NULL, time_ms INTEGER NOT NULL,
       receipt TEXT, PRIMARY KEY (scope, key)
     ) STRICT, WITHOUT ROWID`,
    "CREATE INDEX memos_by_time ON memos (time_ms)",
    "PRAGMA user_version = 1",
  ])
    db.run(statement);
  const insert = db.prepare("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)");
  insert.run(1, now_ms - 2000, "revocation", JSON.stringify({ session: "0f8a4a5c-session" }), "", 0);
  insert.run(2, now_ms - 2000, "revocation", JSON.stringify({ user: "bob", before_ms: now_ms - 2000 }), "", 0);
  insert.run(3, now_ms - 1000, "notification", JSON.stringify({ users: ["carol"] }), '"held"', 3600);
  db.run("INSERT INTO held VALUES (3, 'carol')");
  insert.finalize();
  db.close(true);
}

async function setUp() {
  const path = join(folder(), "journal.db");
  const now_ms = Date.now();
  oldJournal(path, now_ms);
  realm = await startRealm({ now: Date.now });
  const env = { AMPER_JOURNAL: `sqlite:${path}`, AMPER_KEYCLOAK_ISSUER: realm.issuer };
  const { url } = await start(env);
  const attempt = async (token: string, keycloakID: string): Promise<unknown> => {
    const { socket } = page(url, { token, keycloakID, channel: "msf" });
    return Promise.race([next(socket, "connect").then(() => "connected"), next(socket, "connect_error")]);
  };
  return { realm, url, now_ms, attempt };
}
const revoked = { data: { code: "revoked" } };

test("a file of the version before keeps its revocations, its holds and its tokens", async () => {
  const { url, now_ms, attempt } = await setUp();
  expect(await (await connected(url, "carol", "msf")).count(1)).toEqual(["held"]);
  expect(await attempt(oldToken({ sub: user, sid: "0f8a4a5c-session" }, now_ms - 3000), user)).toMatchObject(revoked);
  expect(await attempt(oldToken({ sub: "bob" }, now_ms - 2000), "bob")).toMatchObject(revoked);
  expect(await attempt(oldToken({ sub: "bob" }, now_ms - 1999), "bob")).toBe("connected");
  expect(await attempt(oldToken({ sub: user, sid: "another" }, now_ms - 3000), user)).toBe("connected");
  expect(await attempt(oldToken({}, now_ms - 3000), user)).toBe("connected");
});

test("a session that the version before revoked may come again", async () => {
  const { realm: issuer, url, attempt } = await setUp();
  expect(await attempt(await authorizeWith(url, await issuer.mint()), user)).toBe("connected");
});

test("a token of the version before ends with its user, whatever it says of its time", async () => {
  const { url, now_ms, attempt } = await setUp();
  const bound = oldToken({ sub: user }, now_ms + 3_600_000);
  const unbound = oldToken({}, now_ms);
  expect([await attempt(bound, user), await attempt(unbound, user)]).toEqual(["connected", "connected"]);
  const headers = { "X-API-Key": apiKey };
  const answer = await fetch(`${url}/connections/${user}`, { method: "DELETE", headers });
  expect(await answer.json()).toEqual({ keycloakID: user, disconnected: 2 });
  expect([await attempt(bound, user), await attempt(unbound, user)]).toMatchObject([revoked, revoked]);
  expect(await attempt(unbound, "carol")).toBe("connected");
  expect(await notify(url, { msg: 1, keycloak: user })).toMatchObject({ connections: 0 });
});
