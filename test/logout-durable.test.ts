import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { env, launch } from "./support/binary.ts";
import { connected, next, page } from "./support/client.ts";
import { canMount, emptyDisk, fill, free } from "./support/disk.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { apiKey, authorizeWith } from "./support/service.ts";

let realm: Realm | undefined;
afterEach(async () => {
  await realm?.stop();
});

async function setUp(journal: string) {
  const started = (realm = await startRealm({ now: Date.now }));
  const options = { env: { ...env, AMPER_JOURNAL: `sqlite:${journal}`, AMPER_KEYCLOAK_ISSUER: started.issuer } };
  const logout = async (url: string, claims: Record<string, unknown> = {}) =>
    fetch(`${url}/backchannel-logout`, {
      method: "POST",
      body: new URLSearchParams({ logout_token: await started.mintLogout(claims) }),
    });
  /** Both credentials of the session are dead. */
  const expectDead = async (url: string, token: string, access: string) => {
    const { socket } = page(url, { token, keycloakID: user, channel: "msf" });
    expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
    const answer = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${access}` } });
    await expectProblem(answer, "token_invalid");
  };
  return { realm: started, launch: () => launch(options), logout, expectDead };
}

test.each([{}, { sid: undefined }])("a logout outlives kill -9, from the moment of its answer (%j)", async (claims) => {
  const service = await setUp(join(folder(), "journal.db"));
  const first = await service.launch();
  const access = await service.realm.mint();
  const token = await authorizeWith(first.url, access);
  await connected(first.url, user, "msf", { token });
  expect((await service.logout(first.url, claims)).status).toBe(200);
  first.kill("SIGKILL");
  await first.exited;
  const second = await service.launch();
  await service.expectDead(second.url, token, access);
});

describe.skipIf(!canMount())("a full disk", () => {
  test("loses no logout: it is in force at once, and in the journal as soon as there is room", async () => {
    const disk = emptyDisk();
    const service = await setUp(join(disk, "journal.db"));
    const first = await service.launch();
    const access = await service.realm.mint();
    const token = await authorizeWith(first.url, access);
    const { socket } = await connected(first.url, user, "msf", { token });
    fill(disk);
    const closing = next(socket, "closing");
    expect((await service.logout(first.url)).status).toBe(200);
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
    await service.expectDead(first.url, token, access);
    expect(await (await fetch(`${first.url}/metrics`)).text()).toContain("amper_revocations_unsaved 1\n");

    const well = first.said(/"journal recovered"/);
    const saved = first.said(/"revocations are in the journal"/);
    // An operator is told, because he can ask again.
    const headers = { "X-API-Key": apiKey };
    const deleted = await fetch(`${first.url}/connections/bob`, { method: "DELETE", headers });
    expect((await expectProblem(deleted, "unavailable")).detail).toContain("a restart would forget it");
    free(disk);
    await Promise.all([well, saved]);
    first.kill("SIGKILL");
    await first.exited;
    const second = await service.launch();
    await service.expectDead(second.url, token, access);
  });

  test("that lasts until the end: what could not be kept is named, and the exit code tells", async () => {
    const disk = emptyDisk();
    const service = await setUp(join(disk, "journal.db"));
    const { url, kill, said, exited } = await service.launch();
    await authorizeWith(url, await service.realm.mint());
    fill(disk);
    expect((await service.logout(url)).status).toBe(200);
    kill("SIGTERM");
    const { session, level } = v.parse(
      v.object({ session: v.string(), level: v.string() }),
      JSON.parse(await said(/"revocation lost/)),
    );
    expect([session, level, await exited]).toEqual(["0f8a4a5c-session", "error", 1]);
  });
});
