import { describe, expect, test } from "bun:test";
import { start } from "./support/service.ts";

/** Headers that pages of other origins need, but that browsers keep from them unless they are named. */

const origin = "https://app.example";
const namesIn = (list: string | null) => (list ?? "").split(",").map((name) => name.trim().toLowerCase());

describe.each([
  ["any origin", {}],
  ["listed origins", { AMPER_CORS_ORIGINS: origin }],
])("a page, with %s", (_, env) => {
  test("can read when to retry, which credential is asked for, and the id of its request", async () => {
    const { url } = await start(env);
    for (const path of ["/authorize", "/socket.io/?EIO=4&transport=nonsense", "/socket.io/socket.io.js"]) {
      const { headers } = await fetch(url + path, { headers: { Origin: origin } });
      const exposed = namesIn(headers.get("access-control-expose-headers"));
      expect([path, ...exposed.toSorted()]).toEqual([path, "retry-after", "www-authenticate", "x-request-id"]);
    }
  });

  test("can send its credential, the type of its content, and the id of its request", async () => {
    const { url } = await start(env);
    for (const path of ["/authorize", "/socket.io/"]) {
      const { headers } = await fetch(url + path, {
        method: "OPTIONS",
        headers: { Origin: origin, "Access-Control-Request-Method": "GET" },
      });
      const allowed = namesIn(headers.get("access-control-allow-headers"));
      expect([path, ...allowed.toSorted()]).toEqual([path, "authorization", "content-type", "x-request-id"]);
    }
  });
});
