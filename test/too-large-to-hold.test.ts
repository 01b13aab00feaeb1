import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, connected, post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { alice, notification } from "./support/journal-suite.ts";
import { startTapped } from "./support/journal-tap.ts";
import { expectProblem } from "./support/problem.ts";
import { metric, raws } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** What can never be held is refused for good; and what is held, and what a poll owes, is counted in bytes. */

const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };
/** No heartbeat during a test. */
const silent = { AMPER_PING_INTERVAL_MS: "120000" };

const hold = (url: string, msg: unknown, keycloak: string | string[], headers = {}): Promise<Response> =>
  post(url, { API_KEY: apiKey, msg, keycloak, ttl: 60 }, headers);

async function expectTooLarge(response: Response, setting: string): Promise<void> {
  expect(response.headers.get("retry-after")).toBeNull();
  const { detail }: { detail?: unknown } = Object(await response.clone().json());
  expect(detail).toContain(setting);
  await expectProblem(response, "too_large");
}

for (const [name, journal] of Object.entries(journals)) {
  describe(`a notification with a ttl that can never be held is 413, ${name}`, () => {
    test("if it is larger than its share of the backlog, for one user or for several", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_BACKLOG_BYTES: "8000" });
      await expectTooLarge(await hold(url, "x".repeat(1999), "alice"), "backlog_bytes");
      await expectTooLarge(await hold(url, "x".repeat(1999), ["alice", "bob"]), "backlog_bytes");
      expect((await hold(url, "x".repeat(1998), "alice")).status).toBe(200);
      // The share is full, and will not be for ever.
      await expectProblem(await hold(url, 1, "alice"), "held_full");
    });

    test("by its bytes, not by its characters", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_BACKLOG_BYTES: "8000" });
      await expectTooLarge(await hold(url, "ж".repeat(1000), "alice"), "backlog_bytes");
      await expectTooLarge(await hold(url, "👍".repeat(500), "bob"), "backlog_bytes");
      expect((await hold(url, "ж".repeat(999), "alice")).status).toBe(200);
      expect((await hold(url, "👍".repeat(499), "bob")).status).toBe(200);
      expect(await metric(url, "amper_held_bytes")).toBe(2 + 1998 + 2 + 1996);
    });

    test("if it is larger than max_held_bytes for all its users", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_MAX_HELD_BYTES: "3000" });
      await expectTooLarge(await hold(url, "x".repeat(1499), ["alice", "bob"]), "max_held_bytes");
      await expectTooLarge(await hold(url, "x".repeat(2999), "alice"), "max_held_bytes");
      expect((await hold(url, "x".repeat(1498), ["alice", "bob"])).status).toBe(200);
      await expectProblem(await hold(url, 1, "carol"), "held_full");
    });

    test("if it names more users than max_held", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_MAX_HELD: "2" });
      await expectTooLarge(await hold(url, 1, ["alice", "bob", "carol"]), "max_held");
      expect((await hold(url, 1, ["alice", "bob"])).status).toBe(200);
    });

    test("and goes to nobody, is not remembered, and may be sent without a ttl", async () => {
      const { url } = await start({ ...silent, AMPER_JOURNAL: journal(), AMPER_BACKLOG_BYTES: "8000" });
      const page = await connected(url, "alice", "msf");
      const msg = "x".repeat(2500);
      const key = { "Idempotency-Key": "order-1" };
      for (let i = 0; i < 2; i++) await expectTooLarge(await hold(url, msg, "alice", key), "backlog_bytes");
      const live = await post(url, { API_KEY: apiKey, msg, keycloak: "alice" }, key);
      expect([live.status, live.headers.get("idempotent-replayed")]).toEqual([200, null]);
      expect(await page.count(1)).toEqual([msg]);
    });
  });
}

describe("what a poll owes is counted in bytes", () => {
  const texts: Record<string, { text: string; reached: number[] }> = {
    "Cyrillic, more than it may be": { text: "ж".repeat(2500), reached: [1, 1, 0] },
    "emoji, more than it may be": { text: "👍".repeat(1250), reached: [1, 1, 0] },
    "ASCII of as many characters, not more": { text: "x".repeat(2500), reached: [1, 1, 1] },
  };
  for (const [name, { text, reached }] of Object.entries(texts)) {
    test(name, async () => {
      const { service, journal } = await startTapped({ ...silent, AMPER_BACKLOG_BYTES: "8000" });
      const { url } = service;
      const raw = await raws.polling(url);
      await raw.send(
        `40${JSON.stringify({ token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" })}`,
      );
      await raw.next();
      const one = notification(text, { users: [alice] });
      // In one step: no poll can come between them.
      const appended = await Promise.all([one, one, one].map((draft) => journal.append(draft)));
      expect(appended.map(({ outcome }) => outcome.connections)).toEqual(reached);
    });
  }
});
