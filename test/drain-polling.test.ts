import { expect, test } from "bun:test";
import { authorize } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, rawPolling, upgradeHeaders } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** The stop waits a moment for polling clients, which need a listener to be told. */

async function setUp() {
  const service = await start();
  const { token } = await authorize(service.url);
  const polling = await rawPolling(service.url);
  await polling.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
  expect(await polling.next()).toStartWith("40");
  return { service, polling };
}

const closing = '42["closing",{"code":"draining","reconnect":true}]';

test("a polling client that comes for its next poll during the stop is told why", async () => {
  const { service, polling } = await setUp();
  const stopped = service.stop();
  expect(await polling.next()).toBe(closing);
  expect(await stopped).toBe(true);
});

test.each([
  ["polling", {}],
  ["websocket", upgradeHeaders],
] as const)("a %s handshake during the stop is refused for now", async (transport, headers) => {
  const { service, polling } = await setUp();
  const stopped = service.stop();
  await expectProblem(await fetch(engineUrl(service.url, transport), { headers }), "draining");
  expect(await polling.next()).toBe(closing);
  expect(await stopped).toBe(true);
});
