import { beforeAll, expect, test } from "bun:test";
import { next } from "./support/client.ts";
import { describeKeycloak, startKeycloak } from "./support/keycloak.ts";
import { setAttributes } from "./support/keycloak-admin.ts";
import { createBrowser } from "./support/keycloak-login.ts";
import { ask, open, serve } from "./support/keycloak-service.ts";
import { until } from "./support/raw.ts";

/** keycloak#32197, #44168, #46239: a login after a logout may have the id of the session that has ended. */
await describeKeycloak("a real Keycloak, after a logout", () => {
  beforeAll(startKeycloak);

  for (const other of ["alice", "carol"]) {
    test(`the next login in the same browser is let in, that of ${other} after alice's`, async () => {
      const { url } = await serve();
      await setAttributes("amper", "msf-web", { "backchannel.logout.url": `${url}/backchannel-logout` });
      const browser = createBrowser();
      const before = await browser.login("alice", "msf-web");
      const { socket } = await open(url, before, "news");
      const closing = next(socket, "closing");
      await browser.logout(before);
      expect(await closing).toEqual({ code: "revoked", reconnect: false });
      let after = await browser.login(other, "msf-web");
      process.stderr.write(`the session id is ${after.sid === before.sid ? "the same" : "another"}\n`);
      await until("a login after the second of the logout is let in", async () => {
        after = await browser.login(other, "msf-web");
        return (await ask(url, after.access)).status === 200;
      });
      expect((await open(url, after, "news")).socket.connected).toBe(true);
      expect((await ask(url, before.access)).status).toBe(401);
    });
  }
});
