import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { launch } from "./support/binary.ts";
import { connected, next, page } from "./support/client.ts";
import { describeFaketime, settableClock } from "./support/faketime.ts";
import { folder } from "./support/folder.ts";
import { until } from "./support/raw.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { apiKey, authorizeWith } from "./support/service.ts";

let realm: Realm | undefined;
afterEach(() => realm?.stop());

async function setUp() {
  const home = folder();
  const clock = settableClock(home);
  const started = (realm = await startRealm({ now: Date.now }));
  const options = {
    env: {
      ...clock.env,
      AMPER_JOURNAL: `sqlite:${join(home, "journal.db")}`,
      AMPER_KEYCLOAK_ISSUER: started.issuer,
    },
  };
  const service = await launch(options);
  await until("the keys are there", async () => (await fetch(`${service.url}/health/ready`)).status === 200);
  const access = await started.mint();
  const token = await authorizeWith(service.url, access);
  const { socket } = await connected(service.url, user, "msf", { token });
  const ask = async (bearer: string) =>
    (await fetch(`${service.url}/authorize`, { headers: { Authorization: `Bearer ${bearer}` } })).status;
  return { clock, realm: started, service, access, token, socket, ask };
}

async function remove(url: string): Promise<unknown> {
  const answer = await fetch(`${url}/connections/${user}`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
  return [answer.status, await answer.json()];
}

async function refusal(url: string, token: string): Promise<unknown> {
  return next(page(url, { token, keycloakID: user, channel: "msf" }).socket, "connect_error");
}

describeFaketime("the executable, whose wall clock is set", () => {
  for (const seconds of [-3, -60, -600, -86_400, 3600]) {
    test(`by ${seconds} s: DELETE ends the user, for good, and lets the next login in`, async () => {
      const { clock, realm: issuer, service, access, token, socket, ask } = await setUp();
      const closing = next(socket, "closing");
      clock.set(seconds);
      expect(await remove(service.url)).toEqual([200, { keycloakID: user, disconnected: 1 }]);
      expect(await closing).toEqual({ code: "revoked", reconnect: false });
      expect(await refusal(service.url, token)).toMatchObject({ data: { code: "revoked" } });
      expect(
        v.parse(v.looseObject({ by_seconds: v.number() }), JSON.parse(await service.said(/"clock stepped"/)))
          .by_seconds,
      ).toBeCloseTo(seconds, 0);
      clock.set(0);
      expect(await refusal(service.url, token)).toMatchObject({ data: { code: "revoked" } });
      await until("the next login is let in", async () => (await ask(await issuer.mint())) === 200);
      expect(await ask(access)).toBe(401);
    });

    test(`by ${seconds} s: a logout without a session likewise`, async () => {
      const { clock, realm: issuer, service, access, token, socket, ask } = await setUp();
      const closing = next(socket, "closing");
      clock.set(seconds);
      const body = new URLSearchParams({ logout_token: await issuer.mintLogout({ sid: undefined }) });
      expect((await fetch(`${service.url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
      expect(await closing).toEqual({ code: "revoked", reconnect: false });
      expect(await refusal(service.url, token)).toMatchObject({ data: { code: "revoked" } });
      clock.set(0);
      await until("the next login is let in", async () => (await ask(await issuer.mint())) === 200);
      expect(await ask(access)).toBe(401);
    });
  }
});
