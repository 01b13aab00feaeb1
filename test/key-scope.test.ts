import { describe, expect, test } from "bun:test";
import { connected } from "./support/client.ts";
import { start } from "./support/service.ts";

/** Which connections a key that is limited to channels can see. */

const toml = `
[api_keys.msf]
key = "msf-key-0123456789"
channels = ["msf"]

[api_keys.both]
key = "both-key-0123456789"
channels = ["msf", "b2b"]

[api_keys.elsewhere]
key = "elsewhere-key-0123456789"
channels = ["admin"]
`;

async function setUp() {
  const { url } = await start({}, { toml });
  await connected(url, "alice", "msf");
  await connected(url, "alice", "b2b");
  await connected(url, "bob", "b2b");
  return async (path: string, key: string) =>
    (await fetch(url + path, { headers: { "X-API-Key": `${key}-key-0123456789` } })).json();
}

describe("a key that is limited to channels", () => {
  test("sees the totals of its channels, and no other", async () => {
    const get = await setUp();
    expect(await get("/connections", "msf")).toEqual({ connections: 1, channels: { msf: 1 } });
    expect(await get("/connections", "both")).toEqual({ connections: 3, channels: { msf: 1, b2b: 2 } });
    expect(await get("/connections", "elsewhere")).toEqual({ connections: 0, channels: {} });
  });

  test("sees a user's connections on its channels, and on no other", async () => {
    const get = await setUp();
    const alice = { keycloakID: "alice", online: true };
    expect(await get("/connections/alice", "msf")).toEqual({ ...alice, connections: 1, channels: { msf: 1 } });
    expect(await get("/connections/alice", "both")).toEqual({ ...alice, connections: 2, channels: { msf: 1, b2b: 1 } });
  });

  test("sees a user who is only connected on other channels as offline", async () => {
    const get = await setUp();
    const offline = { online: false, connections: 0, channels: {} };
    expect(await get("/connections/bob", "msf")).toEqual({ keycloakID: "bob", ...offline });
    expect(await get("/connections/alice", "elsewhere")).toEqual({ keycloakID: "alice", ...offline });
  });
});
