import { describe, expect, test } from "bun:test";
import { authorize, connected, notify } from "./support/client.ts";
import { metric, raws, until, type Raw } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** A client that has left its namespace, but goes on to answer heartbeats, gets nothing: so it confirms nothing. */

const beating = { AMPER_PING_INTERVAL_MS: "100" };

async function packet(raw: Raw, beginning: string): Promise<void> {
  for (;;) {
    const found = await raw.next();
    if (found.startsWith(beginning)) return;
    if (found !== "2") throw new Error(`unexpected: ${found}`);
  }
}

/** Answers heartbeats until two more have come: then the service has taken the answers to those before. */
async function beat(raw: Raw): Promise<void> {
  await raw.send("3");
  for (let more = 0; more < 2; more++) {
    await packet(raw, "2");
    await raw.send("3");
  }
  await packet(raw, "2");
}

for (const [name, open] of Object.entries(raws)) {
  describe(`after a client has left its namespace, ${name}`, () => {
    async function setUp(): Promise<{ url: string; raw: Raw; hold: (msg: string) => ReturnType<typeof notify> }> {
      const { url } = await start(beating);
      const { token } = await authorize(url);
      const raw = await open(url);
      await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
      await packet(raw, "40");
      return { url, raw, hold: (msg) => notify(url, { msg, keycloak: "alice", ttl: 60 }) };
    }

    async function leave(url: string, raw: Raw): Promise<void> {
      await raw.send("41");
      await until("it has left", async () => (await metric(url, "amper_users")) === 0);
    }

    test("its heartbeats confirm nothing that came later", async () => {
      const { url, raw, hold } = await setUp();
      await hold("before");
      await packet(raw, '42["notification","before"');
      await leave(url, raw);
      expect(await hold("after")).toMatchObject({ offline: ["alice"], held: true });
      await beat(raw);
      const next = await connected(url, "alice", "msf");
      expect(await next.count(2)).toEqual(["before", "after"]);
    });

    test("the answer to a heartbeat that was sent before confirms nothing", async () => {
      const { url, raw, hold } = await setUp();
      await packet(raw, "2");
      await raw.send("3");
      await hold("before");
      await packet(raw, '42["notification","before"');
      await packet(raw, "2");
      await leave(url, raw);
      await beat(raw);
      expect(await metric(url, "amper_held")).toBe(1);
    });

    test("what it had confirmed before stays confirmed", async () => {
      const { url, raw, hold } = await setUp();
      await hold("before");
      await packet(raw, '42["notification","before"');
      await beat(raw);
      await until("it is confirmed", async () => (await metric(url, "amper_held")) === 0);
      await leave(url, raw);
      await hold("after");
      await raw.send("3");
      await packet(raw, "2");
      const next = await connected(url, "alice", "msf");
      expect(await next.count(1)).toEqual(["after"]);
    });
  });
}
