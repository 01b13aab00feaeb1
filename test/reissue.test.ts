import { expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, connected } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { apiKey, start } from "./support/service.ts";

/** A user who was thrown out may get a new token at once: the revocation does not meet it, whatever the clock says. */

const revoke = (url: string) =>
  fetch(`${url}/connections/alice`, { method: "DELETE", headers: { "X-API-Key": apiKey } });

test("a token issued in the millisecond of the revocation is good", async () => {
  const now_ms = Date.now();
  const { url } = await start({}, { now: () => now_ms });
  expect((await revoke(url)).status).toBe(200);
  const { token } = await authorize(url, "?keycloakID=alice");
  const { socket } = await connected(url, "alice", "msf", { token });
  expect(socket.connected).toBe(true);
});

test("a token issued after the revocation is good although the clock was set back", async () => {
  let now_ms = Date.now();
  const { url } = await start({}, { now: () => now_ms });
  expect((await revoke(url)).status).toBe(200);
  now_ms -= 3_600_000;
  const { token } = await authorize(url, "?keycloakID=alice");
  const { socket } = await connected(url, "alice", "msf", { token });
  expect(socket.connected).toBe(true);
});

test("a token issued after a restart is good although the clock was set back", async () => {
  let now_ms = Date.now();
  const env = { AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
  const first = await start(env, { now: () => now_ms });
  expect((await revoke(first.url)).status).toBe(200);
  await first.stop();
  now_ms -= 3_600_000;
  const { url } = await start(env, { now: () => now_ms });
  const { token } = await authorize(url, "?keycloakID=alice");
  const { socket } = await connected(url, "alice", "msf", { token });
  expect(socket.connected).toBe(true);
});
