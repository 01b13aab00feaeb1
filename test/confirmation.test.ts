import { describe, expect, test } from "bun:test";
import { authorize, notify } from "./support/client.ts";
import { metric, raws, until, type Raw } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** What the answer to a heartbeat confirms. The heartbeats here are answered by hand. */

const beating = { AMPER_PING_INTERVAL_MS: "100" };

/** The next packet with this beginning. Answers the heartbeats that come before it. */
async function packet(raw: Raw, beginning: string): Promise<string> {
  for (;;) {
    const found = await raw.next();
    if (found.startsWith(beginning)) return found;
    if (found !== "2") throw new Error(`unexpected: ${found}`);
    await raw.send("3");
  }
}

for (const [name, open] of Object.entries(raws)) {
  describe(`the answer to a heartbeat, ${name}`, () => {
    test("confirms what was written before the heartbeat, and nothing newer", async () => {
      const { url } = await start(beating);
      const { token } = await authorize(url);
      await notify(url, { msg: "before", keycloak: "alice", ttl: 60 });
      const raw = await open(url);
      await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
      await packet(raw, "40");
      await packet(raw, '42["notification","before"');
      await packet(raw, "2");
      await notify(url, { msg: "after", keycloak: "alice", ttl: 60 });
      await raw.send("3");
      // The next heartbeat is sent only once the last one is answered.
      await packet(raw, '42["notification","after"');
      expect(await raw.next()).toBe("2");
      expect(await metric(url, "amper_held")).toBe(1);
      await raw.send("3");
      await until("both are confirmed", async () => (await metric(url, "amper_held")) === 0);
    });

    test("confirms nothing if the heartbeat was sent before anything was held", async () => {
      const { url } = await start(beating);
      const { token } = await authorize(url);
      const raw = await open(url);
      await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
      await packet(raw, "40");
      await packet(raw, "2");
      await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
      await raw.send("3");
      await packet(raw, '42["notification","held"');
      expect(await raw.next()).toBe("2");
      expect(await metric(url, "amper_held")).toBe(1);
    });
  });
}
