import { expect, test } from "bun:test";
import { languages, startBackend, type Backend } from "./support/backends.ts";
import { launch } from "./support/binary.ts";
import { describeWith } from "./support/parts.ts";
import { metric, until } from "./support/raw.ts";
import { apiKey } from "./support/service.ts";
import { openSockets } from "./support/sockets.ts";

/** Backends in the languages in which they are written, with the HTTP clients that are usual there. */

/** More than a busy machine lets a process wait for its turn: a call that begins as its connection ends fails with every server. */
const env = { AMPER_KEEP_ALIVE_SECONDS: "10" };

/** How all of them call 200 times in each way. None waits for the others, whose idle connections would be about to end. */
async function callAll(backends: readonly Backend[], ...ways: Parameters<Backend["call"]>[1][]): Promise<void> {
  const outcomes = await Promise.all(
    backends.map(async ({ client, call }) => [client, await Array.fromAsync(ways, (way) => call(200, way))]),
  );
  expect(outcomes).toEqual(backends.map(({ client }) => [client, ways.map(() => ({ 200: 200 }))]));
}

for (const [name, language] of Object.entries(languages)) {
  describeWith(language, `backends on ${name}`, () => {
    test("no call fails: 200 at once, 200 in turn, and as many after idle connections have ended", async () => {
      const { url, pid } = await launch({ env });
      const sockets = openSockets(pid);
      const backends = language.clients.map((client) => startBackend(language, client, url, apiKey));
      // In turn last: Go has connections left from calling at once that it has never used.
      await callAll(backends, "at once", "in turn");
      await until("the service has ended the idle connections", () => openSockets(pid) <= sockets);
      // Then they have seen it as well.
      await Promise.all(backends.map(({ call }) => call(0, "in turn")));
      await callAll(backends, "in turn", "at once");
      expect(await metric(url, 'amper_notifications_total{kind="channel",key="backend"}')).toBe(800 * backends.length);
    });
  });
}
