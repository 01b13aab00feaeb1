import { describe, expect, test } from "bun:test";
import { post } from "./support/client.ts";
import { start } from "./support/service.ts";

/** `rate_per_second` and `burst` of one API key or WS token. The clock stands still: nothing comes back. */

const toml = `
[api_keys]
shared = { key = "key-shared-0123456789", rate_per_second = 1 }
single = { key = "key-single-0123456789", rate_per_second = 2, burst = 1 }
triple = { key = "key-triple-0123456789", rate_per_second = 2, burst = 3 }
[ws_tokens]
shared = { token = "token-shared-0123456789", rate_per_second = 1 }
`;

async function setUp() {
  const now_ms = Date.now();
  const { url } = await start({}, { toml, now: () => now_ms });
  const notify = async (name: string) =>
    (await post(url, { API_KEY: `key-${name}-0123456789`, msg: 1, channel: "msf" })).status;
  const authorize = async (name: string) =>
    (await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer token-${name}-0123456789` } })).status;
  return { notify, authorize };
}

describe("a rate of its own", () => {
  test("is not shared by an API key and a WS token of the same name", async () => {
    const { notify, authorize } = await setUp();
    expect([await notify("shared"), await notify("shared")]).toEqual([200, 429]);
    expect([await authorize("shared"), await authorize("shared")]).toEqual([200, 429]);
  });

  test("has its own burst, although another key has the same rate", async () => {
    const { notify } = await setUp();
    expect([await notify("single"), await notify("single")]).toEqual([200, 429]);
    const statuses = [];
    for (let i = 0; i < 4; i++) statuses.push(await notify("triple"));
    expect(statuses).toEqual([200, 200, 200, 429]);
  });
});
