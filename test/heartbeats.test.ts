import { expect, test } from "bun:test";
import { authorize, notify } from "./support/client.ts";
import { raws } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** Heartbeats are the service's to begin. */

const env = { AMPER_PING_INTERVAL_MS: "500", AMPER_PING_TIMEOUT_MS: "60000" };

for (const [name, open] of Object.entries(raws)) {
  test(`answers to heartbeats that nobody sent bring no more of them, ${name}`, async () => {
    const { url } = await start(env);
    const raw = await open(url);
    await raw.send(...Array.from({ length: 20 }, () => "3"));
    const { token } = await authorize(url);
    await raw.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
    expect(await raw.next()).toStartWith('40{"sid"');
    const later = await open(url);
    expect(await raw.next()).toBe("2");
    // The next one comes when it is answered. Others would have come before this.
    expect(await later.next()).toBe("2");
    await notify(url, { msg: "hello", keycloak: "alice" });
    expect(await raw.next()).toStartWith('42["notification","hello"');
  });

  test(`each answer to a heartbeat brings the next one, ${name}`, async () => {
    const { url } = await start(env);
    const raw = await open(url);
    for (let i = 0; i < 4; i++) {
      expect(await raw.next()).toBe("2");
      await raw.send("3");
    }
  });
}
