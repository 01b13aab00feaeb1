import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { authorize, notify } from "./support/client.ts";
import { raws, rawPolling, type Raw } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** A `pid` names the connection that its client left behind, which the server ends. */

const Connected = v.object({ pid: v.string() });

/** Sends the CONNECT, and resolves with the `pid` of its answer. */
async function connect(raw: Raw, auth: object): Promise<string> {
  await raw.send(`40${JSON.stringify(auth)}`);
  return v.parse(Connected, JSON.parse((await raw.next()).slice(2))).pid;
}

for (const [name, open] of Object.entries(raws)) {
  describe(`a pid, ${name}`, () => {
    test("of another user ends no connection, even on the same channel", async () => {
      const { url } = await start();
      const { token } = await authorize(url);
      const pid = await connect(await open(url), { token, keycloakID: "alice", channel: "msf" });
      expect(await connect(await open(url), { token, pid, keycloakID: "mallory", channel: "msf" })).not.toBe(pid);
      expect(await notify(url, { msg: 1, keycloak: "alice" })).toMatchObject({ connections: 1 });
    });

    test("of another channel ends no connection, even of the same user", async () => {
      const { url } = await start();
      const { token } = await authorize(url);
      const pid = await connect(await open(url), { token, keycloakID: "alice", channel: "msf" });
      expect(await connect(await open(url), { token, pid, keycloakID: "alice", channel: "b2b" })).not.toBe(pid);
      expect(await notify(url, { msg: 1, keycloak: "alice", channel: "msf" })).toMatchObject({ connections: 1 });
    });

    test("ends its connection each time that it comes back", async () => {
      const { url } = await start();
      const { token } = await authorize(url);
      const alice = { token, keycloakID: "alice", channel: "msf" };
      const pid = await connect(await open(url), alice);
      for (let i = 0; i < 3; i++) {
        expect(await connect(await open(url), { ...alice, pid })).toBe(pid);
        expect(await notify(url, { msg: i, keycloak: "alice" })).toMatchObject({ connections: 1 });
      }
    });
  });
}

test("a pid stays with the newest connection when an older one ends late", async () => {
  const { url } = await start();
  const { token } = await authorize(url);
  const alice = { token, keycloakID: "alice", channel: "msf" };
  const old = await rawPolling(url);
  const pid = await connect(old, alice);
  // It waits for a poll, and until then the old connection cannot end.
  await notify(url, { msg: "for the old connection", keycloak: "alice" });
  const newer = await rawPolling(url);
  expect(await connect(newer, { ...alice, pid })).toBe(pid);
  expect(await old.next()).toStartWith('42["notification","for the old connection"');
  expect(await connect(await rawPolling(url), { ...alice, pid })).toBe(pid);
  expect(await notify(url, { msg: "for the newest", keycloak: "alice" })).toMatchObject({ connections: 1 });
});
