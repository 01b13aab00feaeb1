import { expect, test } from "bun:test";
import { authorize, connected, next, page } from "./support/client.ts";
import { apiKey, start, wsToken } from "./support/service.ts";
import { loadSettings } from "../src/settings/load.ts";

const front = `[ws_tokens.front]\ntoken = "${wsToken}"\n`;

function settingsWith(toml: string) {
  const loaded = loadSettings({
    args: ["--config=test.toml"],
    env: { AMPER_API_KEYS: `backend=${apiKey}` },
    readFile: () => toml,
  });
  if (!loaded.ok) throw new Error(loaded.problems.join("\n"));
  return loaded.settings;
}

test("a reload that limits a WS token ends what it granted, to the millisecond", async () => {
  let now_ms = Date.now();
  const service = await start({}, { toml: front, now: () => now_ms });
  const { token } = await authorize(service.url);
  const { socket } = await connected(service.url, "alice", "msf", { token });
  const limited = settingsWith(`${front}expires_at = "${new Date(now_ms + 60_000).toISOString()}"\n`);
  now_ms += 59_999;
  expect(service.reload(limited)).toBe(0);
  const closing = next(socket, "closing");
  now_ms += 1;
  expect(await closing).toEqual({ code: "revoked", reconnect: false });
  const again = page(service.url, { token, keycloakID: "alice", channel: "msf" });
  expect(await next(again.socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
});
