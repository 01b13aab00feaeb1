import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Journal } from "../src/journal/journal.ts";
import { post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { startTapped } from "./support/journal-tap.ts";
import { expectProblem } from "./support/problem.ts";
import { apiKey } from "./support/service.ts";

const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };
const body = { API_KEY: apiKey, msg: 1, channel: "msf" };
const key = { "Idempotency-Key": "order-1" };

for (const [name, journalUrl] of Object.entries(journals)) {
  test(`another body under a key that is under way is refused without a wait, ${name}`, async () => {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const slow = (journal: Journal): Journal => ({
      ...journal,
      async append(...needs) {
        reached.resolve();
        await released.promise;
        return journal.append(...needs);
      },
    });
    const { service } = await startTapped({ AMPER_JOURNAL: journalUrl() }, { change: slow });
    const first = post(service.url, body, key);
    await reached.promise;
    try {
      await expectProblem(await post(service.url, { ...body, msg: 2 }, key), "idempotency_mismatch");
    } finally {
      released.resolve();
    }
    expect((await first).status).toBe(200);
  });
}
