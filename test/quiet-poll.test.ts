import { expect, test } from "bun:test";
import { authorize } from "./support/client.ts";
import { rawPolling } from "./support/raw.ts";
import { start } from "./support/service.ts";

// Bun cuts a request that waits after 10 s, rounded to its steps of 4 s. The heartbeat has to come later.
test("a poll waits for a heartbeat longer than other requests may wait", async () => {
  const { url } = await start({ AMPER_PING_INTERVAL_MS: "16000" });
  const polling = await rawPolling(url);
  const { token } = await authorize(url);
  await polling.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
  expect(await polling.next()).toStartWith("40");
  expect(await polling.next()).toBe("2");
});
