import { describe, expect, test } from "bun:test";
import { authorize, next, notify, page, transports } from "./support/client.ts";
import { metric, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** Pages with a plain `auth` that are still open when their token ends. */

for (const [name, options] of Object.entries(transports)) {
  describe(`a page whose token ends overnight, ${name}`, () => {
    async function setUp() {
      let now_ms = Date.now();
      // Longer than the night, so that it can be recovered.
      const env = { AMPER_TOKEN_TTL_SECONDS: "36000", AMPER_JOURNAL_WINDOW_SECONDS: "86400" };
      const { url } = await start(env, { now: () => now_ms, monotonic: () => now_ms });
      const { token } = await authorize(url);
      const opened = page(url, { token, keycloakID: "alice", channel: "msf" }, options);
      await next(opened.socket, "connect");
      /** The machine of the page sleeps; timers of the service do not know of a clock that is set. */
      const night = async () => {
        opened.socket.io.reconnection(false);
        opened.socket.io.engine.close();
        await until("she is gone", async () => (await metric(url, "amper_users")) === 0);
        now_ms += 36_001_000;
        await notify(url, { msg: "of the night", keycloak: "alice" });
        opened.socket.io.reconnection(true);
      };
      return { url, ...opened, night };
    }

    test("is refused for good, and stays away", async () => {
      const { socket, night } = await setUp();
      await night();
      const refused = next(socket, "connect_error");
      socket.connect();
      expect(await refused).toMatchObject({ data: { code: "token_expired" } });
      expect(socket.active).toBe(false);
    });

    test("goes on where it was with the lines of the README", async () => {
      const { url, socket, count, night } = await setUp();
      socket.on("connect_error", async ({ data }: Error & { data?: { code?: string } }) => {
        if (data?.code !== "token_expired") return;
        Object.assign(socket.auth, { token: (await authorize(url)).token });
        socket.connect();
      });
      await night();
      const back = next(socket, "connect");
      socket.connect();
      await back;
      expect(socket.recovered).toBe(true);
      await notify(url, { msg: "good morning", keycloak: "alice" });
      expect(await count(2)).toEqual(["of the night", "good morning"]);
    });
  });
}
