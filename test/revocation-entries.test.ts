import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { KeycloakId, SessionId } from "../src/model/names.ts";
import { connected, next, page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { startTapped } from "./support/journal-tap.ts";
import { expectProblem } from "./support/problem.ts";
import { claimsOf, startRealm, user } from "./support/realm.ts";
import { authorizeWith } from "./support/service.ts";

/** Revocations that were asked for on another node. They come through the journal. */

const journals = { memory: () => "memory:", sqlite: () => `sqlite:${join(folder(), "journal.db")}` };

/** Later than everything that was issued so far. */
const stamp = Number.MAX_SAFE_INTEGER;
const revocations = {
  "of a user": () => ({ user: v.parse(KeycloakId, user), stamp, before_ms: Date.now() }),
  "of a session": () => ({ session: v.parse(SessionId, claimsOf("", 0)["sid"]), stamp }),
};

for (const [journalName, journalUrl] of Object.entries(journals)) {
  describe.each(Object.entries(revocations))(`a revocation %s in the journal, ${journalName}`, (_, revoked) => {
    async function setUp() {
      const realm = await startRealm({ now: Date.now });
      const { service, journal } = await startTapped({
        AMPER_JOURNAL: journalUrl(),
        AMPER_KEYCLOAK_ISSUER: realm.issuer,
      });
      const { url } = service;
      const access = await realm.mint();
      const token = await authorizeWith(url, access);
      await realm.stop();
      const revoke = () => journal.append({ kind: "revocation", ...revoked() });
      return { url, access, token, revoke };
    }

    test("ends the live connections, and counts them", async () => {
      const { url, token, revoke } = await setUp();
      const { socket } = await connected(url, user, "msf", { token });
      const bob = await connected(url, "bob", "msf");
      const closing = next(socket, "closing");
      expect((await revoke()).outcome).toEqual({ connections: 1, offline: [] });
      expect(await closing).toEqual({ code: "revoked", reconnect: false });
      expect(bob.socket.connected).toBe(true);
    });

    test("refuses the websocket token from then on", async () => {
      const { url, token, revoke } = await setUp();
      await revoke();
      const { socket } = page(url, { token, keycloakID: user, channel: "msf" });
      expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
    });

    test("refuses the access token from then on", async () => {
      const { url, access, revoke } = await setUp();
      await revoke();
      const answer = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${access}` } });
      await expectProblem(answer, "token_invalid");
    });
  });
}
