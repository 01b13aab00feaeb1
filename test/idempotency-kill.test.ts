import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { launch, listening, spawn } from "./support/binary.ts";
import { connected, notify, post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const Receipt = v.object({ id: v.string(), connections: v.number() });
type Receipt = v.InferOutput<typeof Receipt>;

interface Answer extends Receipt {
  readonly text: string;
  readonly replayed: boolean;
}

async function send(url: string, key: string, body: object): Promise<Answer> {
  const response = await post(url, { API_KEY: apiKey, ...body }, { "Idempotency-Key": key });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${text}`);
  const replayed = response.headers.get("idempotent-replayed") === "true";
  return { ...v.parse(Receipt, JSON.parse(text)), text, replayed };
}

describe("a kill -9 in the middle of requests with Idempotency-Keys", () => {
  test("over and over: each is sent once, under the receipt that was given", async () => {
    const path = join(folder(), "journal.db");
    const env = { AMPER_JOURNAL: `sqlite:${path}`, AMPER_NOTIFY_BURST: "1000000" };
    let service = await launch({ env });
    const page = await connected(service.url, "alice", "msf", { transports: ["websocket"] });
    const answered = new Map<string, string>();
    let [next, replayed] = [0, 0];

    /** A backend: each notification is repeated with its key until it is answered. */
    async function work(isOver: () => boolean): Promise<void> {
      while (!isOver()) {
        const n = next++;
        const body = { msg: n, keycloak: n % 2 === 0 ? "alice" : ["alice", "bob"] };
        for (;;) {
          const answer = await send(service.url, `key-${n}`, body).catch(() => undefined);
          if (answer === undefined) continue;
          if (answer.replayed) replayed++;
          answered.set(`key-${n}`, answer.text);
          break;
        }
      }
    }

    for (let life = 0; life < 4; life++) {
      const enough = answered.size + 150;
      let isOver = false;
      const working = Array.from({ length: 16 }, () => work(() => isOver));
      const { url } = service;
      await until("enough is answered", () => answered.size >= enough);
      service.kill("SIGKILL");
      await service.exited;
      // On the same port, where backends and pages expect it.
      service = await listening(await spawn({ env: { ...env, AMPER_PORT: new URL(url).port } }));
      isOver = true;
      await Promise.all(working);
    }
    for (const [key, text] of answered) {
      const n = Number(key.slice(4));
      const repeat = await send(service.url, key, { msg: n, keycloak: n % 2 === 0 ? "alice" : ["alice", "bob"] });
      expect([key, repeat.text, repeat.replayed]).toEqual([key, text, true]);
    }
    expect(await page.count(next)).toHaveLength(next);
    expect(page.received.map(Number).toSorted((a, b) => a - b)).toEqual(Array.from({ length: next }, (_, i) => i));
    service.kill("SIGTERM");
    expect(await service.exited).toBe(0);
    const db = new Database(path, { readonly: true });
    expect(db.query("SELECT count(*) AS entries, count(DISTINCT json) AS different FROM entries").get()).toEqual({
      entries: next,
      different: next,
    });
    db.close();
    process.stderr.write(`${next} keys, ${replayed} answered by their memo\n`);
  });
});

describe.each(["memory:", "sqlite:"])("Idempotency-Keys, %s", (kind) => {
  const journal = () => (kind === "memory:" ? kind : `sqlite:${join(folder(), "journal.db")}`);

  test("fifty at once with one key: one notification, one receipt, byte for byte", async () => {
    const { url } = await start({ AMPER_JOURNAL: journal() });
    const page = await connected(url, "alice", "msf");
    const body = { msg: "once", keycloak: ["alice", "bob", "carol"], ttl: 60 };
    const answers = await Promise.all(Array.from({ length: 50 }, () => send(url, "a", body)));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(JSON.parse(answers[0]?.text ?? "")).toMatchObject({ connections: 1, offline: ["bob", "carol"], held: true });
    await notify(url, { msg: "end", keycloak: "alice" });
    expect(await page.count(2)).toEqual(["once", "end"]);
    expect(await metric(url, "amper_idempotency_keys")).toBe(1);
    expect(await metric(url, "amper_idempotency_bytes")).toBeGreaterThan(50);
  });

  test("a repeat gets its receipt though no more can be held, and takes no room", async () => {
    const { url } = await start({ AMPER_JOURNAL: journal(), AMPER_MAX_HELD: "1" });
    const body = { msg: 1, keycloak: "alice", ttl: 60 };
    const first = await send(url, "a", body);
    await expectProblem(await post(url, { API_KEY: apiKey, ...body }, { "Idempotency-Key": "b" }), "held_full");
    for (let i = 0; i < 3; i++) expect(await send(url, "a", body)).toEqual({ ...first, replayed: true });
    expect(await metric(url, "amper_held")).toBe(1);
  });
});

test("a request with an Idempotency-Key is one commit, as one without", async () => {
  const { url } = await start({ AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` });
  const commits = async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(/^amper_journal_commit_seconds_count (\d+)$/m.exec(text)?.[1]);
  };
  await notify(url, { msg: "first", channel: "msf" });
  const before = await commits();
  for (let i = 0; i < 20; i++) await send(url, `key-${i}`, { msg: i, channel: "msf" });
  expect(await commits()).toBe(before + 20);
  for (let i = 0; i < 20; i++) await notify(url, { msg: i, channel: "msf" });
  expect(await commits()).toBe(before + 40);
});
