import { expect, test } from "bun:test";
import { authorize } from "./support/client.ts";
import { raws } from "./support/raw.ts";
import { start } from "./support/service.ts";

// Bun cuts a request that waits after 10 s, rounded to its steps of 4 s, and websockets after a time of ours. The heartbeat
// has to come later.
test("a connection without messages lives until its heartbeat, on either transport", async () => {
  const { url } = await start({ AMPER_PING_INTERVAL_MS: "16000" });
  const { token } = await authorize(url);
  const quiet = Object.entries(raws).map(async ([name, open]) => {
    const raw = await open(url);
    await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
    expect(await raw.next()).toStartWith("40");
    return [name, await raw.next()];
  });
  expect(await Promise.all(quiet)).toEqual(Object.keys(raws).map((name) => [name, "2"]));
});
