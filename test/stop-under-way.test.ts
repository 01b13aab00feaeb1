import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Journal } from "../src/journal/journal.ts";
import { connected, post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { startTapped } from "./support/journal-tap.ts";
import { until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** Requests that have reached the journal when the service is stopped. */

const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };
const body = { API_KEY: apiKey, msg: 1, channel: "msf" };

for (const [name, journalUrl] of Object.entries(journals)) {
  test(`a stop waits for a notification on its way into the journal, ${name}`, async () => {
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
    const answer = post(service.url, body);
    await reached.promise;
    const stopped = service.stop();
    await until("the service listens no longer", () =>
      fetch(`${service.url}/health/live`, { keepalive: false }).then(
        () => false,
        () => true,
      ),
    );
    released.resolve();
    expect((await answer).status).toBe(200);
    expect(await stopped).toBe(true);
  });
}

test("the receipt of a notification that is stored during the stop is kept", async () => {
  const env = { AMPER_JOURNAL: journals.sqlite() };
  const reached = Promise.withResolvers<void>();
  let stop = async (): Promise<boolean> => false;
  const stopping = (journal: Journal): Journal => ({
    ...journal,
    append(...needs) {
      const appended = journal.append(...needs);
      // In this step: the journal has the notification, but has not stored it.
      void stop().then(() => reached.resolve());
      return appended;
    },
  });
  const { service } = await startTapped(env, { change: stopping });
  const { socket } = await connected(service.url, "alice", "msf", { transports: ["websocket"] });
  socket.io.reconnection(false);
  stop = service.stop;
  const key = { "Idempotency-Key": "order-1" };
  const first = await post(service.url, body, key);
  const receipt: unknown = await first.json();
  expect([first.status, receipt]).toMatchObject([200, { connections: 1 }]);
  await reached.promise;
  const { url } = await start(env);
  const repeated = await post(url, body, key);
  expect(repeated.headers.get("idempotent-replayed")).toBe("true");
  expect(await repeated.json()).toEqual(receipt);
});
