import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { fingerprint } from "../src/notify/idempotency.ts";
import { launch } from "./support/binary.ts";
import { closePages, connected, notify, post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const fresh = () => join(folder(), "journal.db");
const journals = { "memory:": () => "memory:", sqlite: () => `sqlite:${fresh()}` };

const Receipt = v.strictObject({
  id: v.string(),
  connections: v.number(),
  offline: v.array(v.string()),
  held: v.boolean(),
});

interface Answer {
  readonly receipt: v.InferOutput<typeof Receipt>;
  readonly replayed: boolean;
}

/** Sends under an Idempotency-Key, and expects a receipt. */
async function sendOnce(
  url: string,
  key: string,
  body: object,
  headers: Readonly<Record<string, string>> = { "X-API-Key": apiKey },
): Promise<Answer> {
  const response = await post(url, body, { ...headers, "Idempotency-Key": key });
  expect([response.status, body]).toEqual([200, body]);
  const replayed = response.headers.get("idempotent-replayed");
  expect([null, "true"]).toContain(replayed);
  return { receipt: v.parse(Receipt, await response.json()), replayed: replayed === "true" };
}

function send(url: string, key: string, body: object): Promise<Response> {
  return post(url, { API_KEY: apiKey, ...body }, { "Idempotency-Key": key });
}

for (const [name, journal] of Object.entries(journals)) {
  describe(`Idempotency-Key, ${name}`, () => {
    test("a repeat gets the first receipt, says so, and sends nothing", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const alice = await connected(url, "alice", "msf");
      const body = { msg: "once", keycloak: ["alice", "bob"], ttl: 60 };
      const first = await sendOnce(url, "a", body);
      expect(first).toMatchObject({ replayed: false, receipt: { connections: 1, offline: ["bob"], held: true } });
      // Not counted anew either: bob comes, and has it.
      const bob = await connected(url, "bob", "msf");
      for (let i = 0; i < 3; i++) expect(await sendOnce(url, "a", body)).toEqual({ ...first, replayed: true });
      expect((await sendOnce(url, "b", body)).replayed).toBe(false);
      await notify(url, { msg: "end", channel: "msf" });
      expect(await alice.count(3)).toEqual(["once", "once", "end"]);
      expect(await bob.count(3)).toEqual(["once", "once", "end"]);
    });

    test("with another body it is 422, and the first receipt is still there", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const body = { msg: { a: [1, "text"] }, keycloak: "alice", channel: ["msf", "b2b"], ttl: 60 };
      const first = await sendOnce(url, "a", body);
      const others = [
        { ...body, msg: { a: [1, "text "] } },
        { ...body, msg: { a: [1, "text"], b: null } },
        { ...body, msg: null },
        { ...body, keycloak: "bob" },
        { ...body, keycloak: ["alice", "bob"] },
        { ...body, channel: "msf" },
        { ...body, channel: undefined },
        { ...body, ttl: 61 },
        { ...body, ttl: undefined },
        { msg: body.msg, channel: body.channel },
      ];
      for (const other of others) await expectProblem(await send(url, "a", other), "idempotency_mismatch");
      expect(await sendOnce(url, "a", body)).toEqual({ ...first, replayed: true });
    });

    test("the same written in another way is the same", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const first = await sendOnce(url, "a", { msg: 1, keycloak: "alice", channel: ["msf"] });
      const ways = [
        '{ "channel": "msf", "ttl": 0, "keycloak": ["alice", "alice"], "msg": 1.0 }',
        '{"msg":1,"keycloak":"\\u0061lice","channel":["msf","msf"]}',
      ];
      for (const way of ways) {
        const response = await post(url, way, { "X-API-Key": apiKey, "Idempotency-Key": "a" });
        expect(response.headers.get("idempotent-replayed")).toBe("true");
        expect(await response.json()).toEqual(first.receipt);
      }
    });

    test("it does not matter where the API key is sent", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const body = { msg: "once", channel: "msf" };
      const first = await sendOnce(url, "a", { API_KEY: apiKey, ...body }, {});
      const ways = [
        await sendOnce(url, "a", body, { "X-API-Key": apiKey }),
        await sendOnce(url, "a", body, { Authorization: `Bearer ${apiKey}` }),
        await sendOnce(url, "a", { ...body, API_KEY: "ignored beside a header" }, { "X-API-Key": apiKey }),
        await sendOnce(url, "a", { ...body, API_KEY: apiKey }, {}),
      ];
      for (const way of ways) expect(way).toEqual({ ...first, replayed: true });
      // Who has no key learns nothing of what was sent under it.
      await expectProblem(await post(url, body, { "X-API-Key": "wrong", "Idempotency-Key": "a" }), "api_key_invalid");
    });

    test("each name of an API key has its own", async () => {
      const env = { AMPER_JOURNAL: journal(), AMPER_API_KEYS: "one=key-of-one-0123456789,two=key-of-two-0123456789" };
      const { url } = await start(env);
      const body = { msg: "once", channel: "msf" };
      const one = await sendOnce(url, "a", body, { "X-API-Key": "key-of-one-0123456789" });
      const two = await sendOnce(url, "a", body, { "X-API-Key": "key-of-two-0123456789" });
      expect([one.replayed, two.replayed]).toEqual([false, false]);
      expect(one.receipt.id).not.toBe(two.receipt.id);
      // No mismatch either: they know nothing of each other.
      const other = { msg: "other", channel: "msf" };
      expect((await sendOnce(url, "b", other, { "X-API-Key": "key-of-one-0123456789" })).replayed).toBe(false);
      expect((await sendOnce(url, "b", body, { "X-API-Key": "key-of-two-0123456789" })).replayed).toBe(false);
    });

    test("twenty at once: sent once, and all get the same receipt", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const alice = await connected(url, "alice", "msf");
      for (const key of ["a", "b", "c"]) {
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => sendOnce(url, key, { msg: key, keycloak: "alice" })),
        );
        expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
        expect(new Set(answers.map(({ receipt }) => JSON.stringify(receipt))).size).toBe(1);
        expect(answers[0]?.receipt).toMatchObject({ connections: 1 });
      }
      await notify(url, { msg: "end", keycloak: "alice" });
      expect(await alice.count(4)).toEqual(["a", "b", "c", "end"]);
    });

    test("twenty at once with two bodies: one of them is sent, the other is 422", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const alice = await connected(url, "alice", "msf");
      const responses = await Promise.all(
        Array.from({ length: 20 }, (_, i) => send(url, "a", { msg: i % 2, keycloak: "alice" })),
      );
      const statuses = responses.map(({ status }) => status);
      const sent = statuses[0] === 200 ? 0 : 1;
      expect(statuses).toEqual(Array.from({ length: 20 }, (_, i) => (i % 2 === sent ? 200 : 422)));
      await notify(url, { msg: "end", keycloak: "alice" });
      expect(await alice.count(2)).toEqual([sent, "end"]);
    });

    test("a request that was refused is not remembered", async () => {
      const env = { AMPER_JOURNAL: journal(), AMPER_MAX_HELD_PER_USER: "1", AMPER_PING_INTERVAL_MS: "100" };
      const { url } = await start(env);
      await expectProblem(await send(url, "a", { msg: 1, channel: null }), "invalid_body");
      await expectProblem(await send(url, "a", { msg: 1, channel: "a b" }), "invalid_body");
      expect((await sendOnce(url, "a", { msg: 1, channel: "msf" })).replayed).toBe(false);

      await notify(url, { msg: "first", keycloak: "alice", ttl: 60 });
      const body = { msg: "second", keycloak: "alice", ttl: 60 };
      const refused = await send(url, "b", body);
      expect(refused.headers.get("idempotent-replayed")).toBeNull();
      await expectProblem(refused, "held_full");
      const alice = await connected(url, "alice", "msf");
      // Until a heartbeat has confirmed the first.
      let response = await send(url, "b", body);
      for (const deadline_ms = performance.now() + 3000; performance.now() < deadline_ms && !response.ok;) {
        response = await send(url, "b", body);
      }
      expect([response.status, response.headers.get("idempotent-replayed")]).toEqual([200, null]);
      expect((await sendOnce(url, "b", body)).replayed).toBe(true);
      await notify(url, { msg: "end", keycloak: "alice" });
      expect(await alice.count(3)).toEqual(["first", "second", "end"]);
    });

    test("for 24 hours, however short the window is; then it is sent anew", async () => {
      let now_ms = Date.now();
      const env = { AMPER_JOURNAL: journal(), AMPER_JOURNAL_WINDOW_SECONDS: "10", AMPER_TOKEN_TTL_SECONDS: "360000" };
      const { url } = await start(env, { now: () => now_ms });
      const alice = await connected(url, "alice", "msf");
      const body = { msg: "daily", keycloak: "alice" };
      const first = await sendOnce(url, "a", body);
      now_ms += 24 * 60 * 60 * 1000;
      // Even after the journal was tidied.
      await until("the window is empty", async () => (await metric(url, "amper_window_entries")) === 0);
      expect(await sendOnce(url, "a", body)).toEqual({ ...first, replayed: true });
      now_ms += 1;
      const second = await sendOnce(url, "a", body);
      expect(second.replayed).toBe(false);
      expect(second.receipt.id).not.toBe(first.receipt.id);
      // It counts from the second one now, whatever its body.
      expect(await sendOnce(url, "a", body)).toEqual({ ...second, replayed: true });
      now_ms += 24 * 60 * 60 * 1000 + 1;
      expect((await sendOnce(url, "a", { msg: "other", keycloak: "alice" })).replayed).toBe(false);
      expect(await alice.count(3)).toEqual(["daily", "daily", "other"]);
    });

    test("a value of any other form is 400, and sends nothing", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const alice = await connected(url, "alice", "msf");
      const body = { API_KEY: apiKey, msg: "bad", keycloak: "alice" };
      for (const key of ["", "x".repeat(256), "tab\tinside", "\u00e4", "\u0080", "\u007f"]) {
        const { code, detail } = await expectProblem(
          await post(url, body, { "Idempotency-Key": key }),
          "invalid_request",
        );
        expect([key, code]).toEqual([key, "invalid_request"]);
        expect(detail).toContain("Idempotency-Key");
      }
      const good = ["!", "~", "x".repeat(255), '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "with a space", "a,b;c=d"];
      for (const key of good) {
        expect((await sendOnce(url, key, { msg: key, keycloak: "alice" })).replayed).toBe(false);
        expect((await sendOnce(url, key, { msg: key, keycloak: "alice" })).replayed).toBe(true);
      }
      expect(await alice.count(good.length)).toEqual(good);
    });

    test("without it a repeat is sent twice", async () => {
      const { url } = await start({ AMPER_JOURNAL: journal() });
      const alice = await connected(url, "alice", "msf");
      const receipts = [
        await notify(url, { msg: "same", keycloak: "alice" }),
        await notify(url, { msg: "same", keycloak: "alice" }),
      ];
      expect(new Set(receipts.map(({ id }) => id)).size).toBe(2);
      expect(await alice.count(2)).toEqual(["same", "same"]);
    });
  });
}

describe("Idempotency-Key over a restart", () => {
  const body = { msg: "once", keycloak: ["alice", "bob"], ttl: 60 };

  test("the receipt is the first one, to the letter, and nothing is sent again", async () => {
    const env = { AMPER_JOURNAL: `sqlite:${fresh()}` };
    const first = await start(env);
    await connected(first.url, "alice", "msf");
    const answer = await sendOnce(first.url, "a", body);
    expect(answer.receipt).toMatchObject({ connections: 1, offline: ["bob"], held: true });
    await first.stop();
    closePages();
    const second = await start(env);
    expect(await sendOnce(second.url, "a", body)).toEqual({ ...answer, replayed: true });
    await expectProblem(await send(second.url, "a", { ...body, msg: "other" }), "idempotency_mismatch");
    const bob = await connected(second.url, "bob", "msf");
    await notify(second.url, { msg: "end", keycloak: "bob" });
    expect(await bob.count(2)).toEqual(["once", "end"]);
  });

  test("under the key that followed it, of the same name", async () => {
    const journal = `sqlite:${fresh()}`;
    const first = await start({ AMPER_JOURNAL: journal, AMPER_API_KEYS: "backend=old-key-0123456789" });
    const answer = await sendOnce(first.url, "a", body, { "X-API-Key": "old-key-0123456789" });
    await first.stop();
    const second = await start({
      AMPER_JOURNAL: journal,
      AMPER_API_KEYS: "backend=new-key-0123456789,other=old-key-0123456789",
    });
    const rotated = await sendOnce(second.url, "a", body, { "X-API-Key": "new-key-0123456789" });
    expect(rotated).toEqual({ ...answer, replayed: true });
    // What counts is the name: the old secret has another one now.
    expect((await sendOnce(second.url, "a", body, { "X-API-Key": "old-key-0123456789" })).replayed).toBe(false);
  });

  test("after kill -9 it is not sent again", async () => {
    const env = { AMPER_JOURNAL: `sqlite:${fresh()}`, AMPER_PING_INTERVAL_MS: "120000" };
    const first = await launch({ env });
    const { receipt } = await sendOnce(first.url, "a", body);
    first.kill("SIGKILL");
    await first.exited;
    const second = await launch({ env });
    // With the receipt that was given, or, if that was not written yet, with counts of now: nobody is online in either.
    expect(await sendOnce(second.url, "a", body)).toEqual({ receipt, replayed: true });
    const bob = await connected(second.url, "bob", "msf");
    await notify(second.url, { msg: "end", keycloak: "bob" });
    expect(await bob.count(2)).toEqual(["once", "end"]);
  });

  test("what could not be stored is 503, and is not remembered", async () => {
    const path = fresh();
    const env = { AMPER_JOURNAL: `sqlite:${path}` };
    await (await start(env)).stop();
    // A disk on which the first entry of all fails, as long as it is this one.
    const db = new Database(path);
    db.run(`CREATE TRIGGER full BEFORE INSERT ON entries
            WHEN NEW.json = '"fails"' AND NOT EXISTS (SELECT 1 FROM entries)
            BEGIN SELECT RAISE(ABORT, 'no space'); END`);
    db.close();
    const { url } = await start(env);
    const alice = await connected(url, "alice", "msf");
    const refused = await Promise.all(
      Array.from({ length: 5 }, () => send(url, "a", { msg: "fails", keycloak: "alice" })),
    );
    for (const response of refused) {
      expect(response.headers.get("retry-after")).toMatch(/^\d+$/);
      await expectProblem(response, "unavailable");
    }
    // Not even its body: nothing was accepted under this key.
    expect((await sendOnce(url, "a", { msg: "works", keycloak: "alice" })).replayed).toBe(false);
    expect((await sendOnce(url, "b", { msg: "fails", keycloak: "alice" })).replayed).toBe(false);
    expect(await alice.count(2)).toEqual(["works", "fails"]);
  });
});

test("the fingerprint tells bodies apart by everything that is in them", () => {
  const bodies = [{ msg: 1 }, { msg: "1" }, { msg: [1] }, { msg: null }, { msg: 1, ttl: 0 }, { msg: { a: 1, b: 2 } }];
  expect(new Set(bodies.map(fingerprint)).size).toBe(bodies.length);
  expect(fingerprint({ msg: { a: 1 } })).toBe(fingerprint({ msg: { a: 1 } }));
});
