import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Target } from "../src/model/entry.ts";
import { authorize, connected, notify, transports } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { alice, append, msf, notification } from "./support/journal-suite.ts";
import { startTapped } from "./support/journal-tap.ts";
import { metric, raws } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** `backlog_bytes`: what counts towards it, and what happens to a connection in the step in which it exceeds it. */

const targets: Record<string, Target> = { "a channel": { channels: [msf] }, "a user": { users: [alice] } };

for (const [to, target] of Object.entries(targets)) {
  const { users: keycloak, channels: channel } = target;
  for (const [name, options] of Object.entries(transports)) {
    test(`a client that reads everything is never closed, sent to ${to}, ${name}`, async () => {
      const { url } = await start({ AMPER_BACKLOG_BYTES: "8000" });
      const page = await connected(url, "alice", "msf", options);
      const ends: unknown[] = [];
      page.socket.on("disconnect", (reason) => ends.push(reason));
      const msg = "x".repeat(3000);
      for (let n = 1; n <= 8; n++) {
        await notify(url, { msg, ...(keycloak === undefined ? { channel } : { keycloak }) });
        await page.count(n);
      }
      expect({ ends, received: page.received.length }).toEqual({ ends: [], received: 8 });
    });
  }
}

const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };

for (const [journalName, journalUrl] of Object.entries(journals)) {
  for (const [name, open] of Object.entries(raws)) {
    describe.each(Object.entries(targets))(
      `a notification beyond the backlog, sent to %s, ${name}, ${journalName}`,
      (_, target) => {
        test("is the last one that the connection is counted for, even in the same step", async () => {
          const { service, journal } = await startTapped({
            AMPER_BACKLOG_BYTES: "8000",
            AMPER_JOURNAL: journalUrl(),
          });
          const { url } = service;
          const { token } = await authorize(url);
          const raw = await open(url);
          await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
          await raw.next();
          // More than the kernel takes for a websocket before the client reads, which it cannot within one step.
          const bytes = name === "websocket" ? 32 * 1024 * 1024 : 10_000;
          const tooMuch = notification("x".repeat(bytes), target);
          const appended = await Promise.all(
            [tooMuch, notification("later", target)].map((one) => append(journal, one)),
          );
          expect(appended.map(({ outcome }) => outcome.connections)).toEqual([1, 0]);
          expect(await metric(url, `amper_backlog_closes_total{transport="${name}"}`)).toBe(1);
          expect(await metric(url, 'amper_closings_total{code="overloaded"}')).toBe(1);
        });
      },
    );
  }
}

test("a polling client gets what exceeded its backlog, the reason, and nothing newer", async () => {
  const { service, journal } = await startTapped({ AMPER_BACKLOG_BYTES: "8000" });
  const { token } = await authorize(service.url);
  const raw = await raws.polling(service.url);
  await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
  await raw.next();
  const msg = "x".repeat(8000);
  const [{ cursor }] = await Promise.all([append(journal, notification(msg)), append(journal, notification("later"))]);
  expect(await raw.ended()).toEqual([
    `42["notification","${msg}","${cursor}"]`,
    '42["closing",{"code":"overloaded","reconnect":true}]',
  ]);
});
