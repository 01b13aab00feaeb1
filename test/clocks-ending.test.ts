import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { authorize, connected, next, notify, page, type Page } from "./support/client.ts";
import { createClocks } from "./support/clocks.ts";
import { folder } from "./support/folder.ts";
import { until } from "./support/raw.ts";
import { startRealm, user, type Minting } from "./support/realm.ts";
import { apiKey, authorizeWith, start } from "./support/service.ts";

/** Ending a user is final, whatever the wall clocks say, here or at Keycloak; and ends nothing that they get after it. */

const minute_ms = 60_000;
const hour_ms = 60 * minute_ms;
const day_ms = 24 * hour_ms;

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A service and a realm with clocks of their own, and one user, `user`, of the realm. */
async function setUp({ realmAhead_ms = 0, journal = `sqlite:${join(folder(), "journal.db")}` } = {}) {
  const clocks = createClocks();
  let ahead_ms = realmAhead_ms;
  // Keycloak's own clock: it goes with time, and knows nothing of ours.
  const realmNow = () => Date.UTC(2026, 0, 1) + clocks.monotonic() + ahead_ms;
  const realm = await startRealm({ now: realmNow });
  stops.push(realm.stop);
  const env = { AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_JOURNAL: journal, AMPER_TOKEN_SECRET: "s".repeat(32) };
  let service = await start(env, clocks);
  await ready();

  async function ready(): Promise<void> {
    await until("the keys are there", async () => (await fetch(`${service.url}/health/ready`)).status === 200);
  }
  async function restart(): Promise<void> {
    await service.stop();
    service = await start(env, clocks);
    await ready();
  }
  async function login(claims: Record<string, unknown> = {}, minting?: Minting) {
    const access = await realm.mint(claims, minting);
    return { access, token: await authorizeWith(service.url, access) };
  }
  const open = (token: string, name = user) => connected(service.url, name, "msf", { token });
  async function remove(): Promise<number> {
    const headers = { "X-API-Key": apiKey };
    const answer = await fetch(`${service.url}/connections/${user}`, { method: "DELETE", headers });
    return v.parse(v.object({ disconnected: v.number() }), await answer.json()).disconnected;
  }
  async function logout(claims: Record<string, unknown> = { sid: undefined }): Promise<number> {
    const body = new URLSearchParams({ logout_token: await realm.mintLogout(claims) });
    return (await fetch(`${service.url}/backchannel-logout`, { method: "POST", body })).status;
  }
  /** How a CONNECT with this token ends. */
  async function attempt(token: string, name = user): Promise<string> {
    const { socket } = page(service.url, { token, keycloakID: name, channel: "msf" });
    return Promise.race([
      next(socket, "connect").then(() => "connected"),
      next(socket, "connect_error").then((error) => v.parse(Refused, error).data.code),
    ]);
  }
  const ask = async (access: string) =>
    (await fetch(`${service.url}/authorize`, { headers: { Authorization: `Bearer ${access}` } })).status;

  return {
    clocks,
    realm,
    restart,
    login,
    open,
    remove,
    logout,
    attempt,
    ask,
    /** Sets the realm's clock. */
    stepRealm: (by_ms: number) => void (ahead_ms += by_ms),
    get url() {
      return service.url;
    },
  };
}
const Refused = v.object({ data: v.object({ code: v.string() }) });

const ended = ({ socket }: Page): Promise<unknown> => next(socket, "closing");
const revoked = { code: "revoked", reconnect: false };

describe("while our clock is wrong", () => {
  const steps = { "3 s behind": -3000, "60 s behind": -minute_ms, "600 s behind": -10 * minute_ms };
  const more = { "a day behind": -day_ms, "an hour ahead": hour_ms, "4 s ahead": 4000 };

  for (const [name, by_ms] of Object.entries({ ...steps, ...more })) {
    test(`DELETE ends what the user had, for good, and lets the next login in: ${name}`, async () => {
      const { clocks, login, open, remove, attempt, ask, restart } = await setUp();
      const { access, token } = await login();
      const closing = ended(await open(token));
      clocks.step(by_ms);
      expect(await remove()).toBe(1);
      expect(await closing).toEqual(revoked);
      expect(await attempt(token)).toBe("revoked");
      await restart();
      expect(await attempt(token)).toBe("revoked");
      clocks.step(-by_ms);
      expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
      clocks.pass(1000);
      const again = await login();
      expect(await attempt(again.token)).toBe("connected");
      expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
    });

    test(`a logout without a session likewise: ${name}`, async () => {
      const { clocks, login, open, logout, attempt, ask, restart } = await setUp();
      const { access, token } = await login();
      const closing = ended(await open(token));
      clocks.step(by_ms);
      expect(await logout()).toBe(200);
      expect(await closing).toEqual(revoked);
      clocks.step(-by_ms);
      await restart();
      expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
      clocks.pass(1000);
      expect(await attempt((await login()).token)).toBe("connected");
    });

    test(`what a front service was issued ends, too: ${name}`, async () => {
      const { url, clocks, open, remove, attempt } = await setUp({ journal: "memory:" });
      const bound = (await authorize(url, `?keycloakID=${user}`)).token;
      const unbound = (await authorize(url)).token;
      const closing = [ended(await open(bound)), ended(await open(unbound))];
      clocks.step(by_ms);
      expect(await remove()).toBe(2);
      expect(await Promise.all(closing)).toEqual([revoked, revoked]);
      // For another user, an unbound token is as good as before.
      expect([await attempt(bound), await attempt(unbound), await attempt(unbound, "bob")]).toEqual([
        "revoked",
        "revoked",
        "connected",
      ]);
      const since = (await authorize(url, `?keycloakID=${user}`)).token;
      expect(await attempt(since)).toBe("connected");
    });
  }

  test("from the start: what was issued before a restart ends, and a later login is let in", async () => {
    for (const by_ms of [-10 * minute_ms, hour_ms]) {
      const { clocks, login, remove, attempt, ask, restart } = await setUp();
      const { access, token } = await login();
      clocks.step(by_ms);
      await restart();
      expect(await remove()).toBe(0);
      expect(await attempt(token)).toBe("revoked");
      clocks.step(-by_ms);
      await restart();
      expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
      // A clock that is ahead looks like a service that was stopped for so long: what came in that time ends, too.
      clocks.pass(Math.max(0, by_ms) + 1000);
      expect(await attempt((await login()).token)).toBe("connected");
    }
  });

  test("for longer than a step is suspected: DELETE is as final, and as narrow", async () => {
    for (const by_ms of [-10 * minute_ms, hour_ms]) {
      const { clocks, realm, login, remove, attempt, ask } = await setUp();
      clocks.step(by_ms);
      clocks.pass(30 * minute_ms);
      // Its clock is known from a token that ours refuses.
      const access = await realm.mint();
      expect(await ask(access)).toBe(401);
      expect(await remove()).toBe(0);
      clocks.step(-by_ms);
      expect(await ask(access)).toBe(401);
      clocks.pass(1000);
      expect(await attempt((await login()).token)).toBe("connected");
    }
  });

  test("a token of an older copy of the journal, or of another one with the same secret, ends as well", async () => {
    const { clocks, login, open, remove, attempt, restart } = await setUp({ journal: "memory:" });
    clocks.pass(minute_ms);
    const { token } = await login();
    clocks.step(-10 * minute_ms);
    // The journal of the new service is in its memory: it begins with smaller stamps than that of the token.
    await restart();
    const closing = ended(await open(token));
    expect(await remove()).toBe(1);
    expect(await closing).toEqual(revoked);
    expect(await attempt(token)).toBe("revoked");
  });
});

describe("while Keycloak's clock is another", () => {
  test.each([-minute_ms, -10_000, 4000])(
    "by %d ms, DELETE ends what was issued, and lets the next login in",
    async (ahead) => {
      const { clocks, login, open, remove, attempt, ask } = await setUp({ realmAhead_ms: ahead });
      const { access, token } = await login();
      clocks.pass(20_000);
      await open((await login()).token);
      expect(await remove()).toBe(1);
      expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
      clocks.pass(1000);
      expect(await attempt((await login()).token)).toBe("connected");
    },
  );

  test.each(["DELETE", "logout"])("%s ends what it issued before it was set back", async (how) => {
    const { clocks, login, remove, logout, ask, stepRealm } = await setUp();
    const { access } = await login();
    clocks.pass(5000);
    stepRealm(-minute_ms);
    if (how === "DELETE") await remove();
    else expect(await logout()).toBe(200);
    expect(await ask(access)).toBe(401);
    // Which login is new cannot be told apart until its clock has passed what it showed.
    clocks.pass(minute_ms + 1000);
    await login();
  });

  test.each([0, 200])(
    "an access token that was never shown to us ends as well, after one that was %d s old",
    async (age) => {
      const { clocks, realm, login, remove, ask } = await setUp();
      await login({ iat: Date.UTC(2026, 0, 1) / 1000 - age });
      clocks.pass(10_000);
      const access = await realm.mint();
      clocks.step(-minute_ms);
      await remove();
      clocks.step(minute_ms);
      expect(await ask(access)).toBe(401);
    },
  );
});

test.each([{ ages: [200, 199] }, { ages: [240, 239, 238] }, { ages: [100, 100, 99] }])(
  "an access token that was never shown to us ends as well, after old ones of one login alone: $ages",
  async ({ ages }) => {
    const { clocks, realm, login, remove, ask } = await setUp();
    for (const age of ages) {
      await login({ iat: Date.UTC(2026, 0, 1) / 1000 - age });
      clocks.pass(300);
    }
    clocks.pass(10_000);
    const access = await realm.mint();
    await remove();
    expect(await ask(access)).toBe(401);
    clocks.pass(1000);
    await login();
  },
);

describe("a session id that comes again", () => {
  test("is as good as a new one for what was issued after the logout, for another user, too", async () => {
    const { clocks, login, open, logout, attempt, ask, restart } = await setUp();
    const { access, token } = await login();
    const closing = ended(await open(token));
    expect(await logout({})).toBe(200);
    expect(await closing).toEqual(revoked);
    expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
    clocks.pass(1000);
    const again = await login();
    const bob = await login({ sub: "bob" });
    expect([await attempt(again.token), await attempt(bob.token, "bob")]).toEqual(["connected", "connected"]);
    await restart();
    expect([await attempt(again.token), await attempt(bob.token, "bob")]).toEqual(["connected", "connected"]);
    expect([await attempt(token), await ask(access)]).toEqual(["revoked", 401]);
    clocks.pass(1000);
    expect(await attempt((await login()).token)).toBe("connected");
  });

  test("ends again at its next logout", async () => {
    const { clocks, login, open, logout, attempt } = await setUp();
    await login();
    expect(await logout({})).toBe(200);
    clocks.pass(1000);
    const again = await login();
    const closing = ended(await open(again.token));
    clocks.pass(1000);
    expect(await logout({})).toBe(200);
    expect(await closing).toEqual(revoked);
    expect([await attempt(again.token)]).toEqual(["revoked"]);
  });

  test("lives on when an old logout is verified late: what came after it stays", async () => {
    const { url, clocks, realm, login, open, logout, attempt } = await setUp();
    const { token } = await login();
    const closing = ended(await open(token));
    const { key } = realm;
    realm.behave("error");
    await realm.rotate();
    // The realm's new key signs the logout, and cannot be had for now.
    expect(await logout({})).toBe(503);
    clocks.pass(1000);
    const since = await open((await login({}, { key })).token);
    realm.behave("well");
    expect(await closing).toEqual(revoked);
    expect(await notify(url, { msg: "still here", keycloak: user })).toMatchObject({ connections: 1 });
    expect(await since.count(1)).toEqual(["still here"]);
    expect(await attempt(token)).toBe("revoked");
  });
});
