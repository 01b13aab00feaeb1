import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, connected, next, notify } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, type Realm } from "./support/realm.ts";
import { apiKey, authorizeWith, start } from "./support/service.ts";

/** Users whom Keycloak takes from elsewhere have ids with their names in them, as people write these. */

let realm: Realm | undefined;
afterEach(async () => {
  await realm?.stop();
  realm = undefined;
});

const provider = "f:8e03978e-40d5-43dd-bc93-6894a57f9324";
const ids = {
  "a full name": `${provider}:John Smith`,
  "two spaces": `${provider}:Anna  Maria de Souza`,
  "an ideographic space": `${provider}:山田\u3000太郎`,
  "what a path has other uses for": `${provider}:a/b?c=d&e %2F+ü#`,
} as const;

const as = (key: string) => ({ headers: { Authorization: `Bearer ${key}` } });

describe.each(Object.entries(ids))("an id with %s", (_, id) => {
  const path = `/connections/${encodeURIComponent(id)}`;

  test("logs in, is notified, looked up, and ended by `DELETE` and by logout", async () => {
    realm = await startRealm({ now: Date.now });
    const { url } = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer });
    const token = await authorizeWith(url, await realm.mint({ sub: id }));
    const { socket, count } = await connected(url, id, "msf", { token });
    expect(await notify(url, { msg: 1, keycloak: id })).toMatchObject({ connections: 1, offline: [] });
    expect(await notify(url, { msg: 2, keycloak: [id, "John"], channel: "msf" })).toMatchObject({
      connections: 1,
      offline: ["John"],
    });
    expect(await count(2)).toEqual([1, 2]);
    expect(await (await fetch(url + path, as(apiKey))).json()).toMatchObject({ keycloakID: id, connections: 1 });
    const closing = next(socket, "closing");
    expect((await fetch(url + path, { method: "DELETE", ...as(apiKey) })).status).toBe(200);
    expect(await closing).toMatchObject({ code: "revoked" });
    const body = new URLSearchParams({ logout_token: await realm.mintLogout({ sub: id, sid: undefined }) });
    expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
  });

  test("is bound by a front service, held for, and kept over a restart", async () => {
    const env = { AMPER_JOURNAL: `sqlite:${join(folder(), "amper.db")}` };
    const first = await start(env);
    expect(await notify(first.url, { msg: "held", keycloak: id, ttl: 3600 })).toMatchObject({
      held: true,
      offline: [id],
    });
    await first.stop();
    const { url } = await start(env);
    const { token, keycloakID } = await authorize(url, `?keycloakID=${encodeURIComponent(id)}`);
    expect(keycloakID).toBe(id);
    const { count } = await connected(url, id, "msf", { token });
    expect(await count(1)).toEqual(["held"]);
  });
});

test.each([" alice", "alice ", "\u00a0alice", "alice\u3000", " ", "a\u2028b", "a\tb"])(
  "spaces at an end, and what only looks like one, are refused: %j",
  async (id) => {
    const { url } = await start();
    const answer = await fetch(`${url}/authorize?keycloakID=${encodeURIComponent(id)}`, as("test-ws-token-0123456789"));
    const { errors } = await expectProblem(answer, "invalid_request");
    expect(errors).toEqual([{ path: "keycloakID", message: expect.stringContaining("spaces only between others") }]);
  },
);
