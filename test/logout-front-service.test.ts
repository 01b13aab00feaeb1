import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { env as base, launch } from "./support/binary.ts";
import { authorize, connected, next, notify, page, transports, type Options, type Page } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { authorizeWith, start, wsToken } from "./support/service.ts";

/** Pages of a front service, which asks for their websocket tokens with its WS token: a logout of their user ends them. */

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

const session = "0f8a4a5c-session";
const own = `?keycloakID=${user}`;
const revoked = { code: "revoked", reconnect: false };

async function realmOf(): Promise<Realm> {
  const realm = await startRealm({ now: Date.now });
  realms.push(realm);
  return realm;
}

async function logOut(url: string, realm: Realm, claims: Record<string, unknown> = {}): Promise<void> {
  const body = new URLSearchParams({ logout_token: await realm.mintLogout(claims) });
  expect((await fetch(`${url}/backchannel-logout`, { method: "POST", body })).status).toBe(200);
}

async function setUp(env: Record<string, string> = {}) {
  const realm = await realmOf();
  const settings = { AMPER_KEYCLOAK_ISSUER: realm.issuer, ...env };
  const service = await start(settings);
  const open = async (query: string, options: Options = {}, keycloakID = user) => {
    const { token } = await authorize(service.url, query);
    return { token, ...(await connected(service.url, keycloakID, "msf", { ...options, token })) };
  };
  return { ...service, realm, settings, open, logout: (claims = {}) => logOut(service.url, realm, claims) };
}

async function expectRefused(url: string, token: string): Promise<void> {
  const { socket } = page(url, { token, keycloakID: user, channel: "msf" });
  expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
}

const endOf = ({ socket }: Page) => next(socket, "closing");

for (const [name, options] of Object.entries(transports)) {
  describe(`${name}: a logout`, () => {
    test("of a session ends the pages that were tied to it by sid, and refuses their token", async () => {
      const { url, open, logout } = await setUp();
      const tied = await open(`${own}&sid=${session}`, options);
      const other = await open(`${own}&sid=another`, options);
      const end = endOf(tied);
      // Names nobody but the session.
      await logout({ sub: undefined });
      expect(await end).toEqual(revoked);
      await expectRefused(url, tied.token);
      expect(await notify(url, { msg: "still here", keycloak: user })).toMatchObject({ connections: 1 });
      expect(await other.count(1)).toEqual(["still here"]);
    });

    test("that names session and user ends the pages that are tied to none, and nobody else's", async () => {
      const { url, open, logout } = await setUp();
      const [bound, unbound] = [await open(own, options), await open("", options)];
      const stay = [
        await open(`${own}&sid=another`, options),
        await open("?keycloakID=bob", options, "bob"),
        await open("", options, "carol"),
      ];
      const ends = [bound, unbound].map(endOf);
      await logout();
      expect(await Promise.all(ends)).toEqual([revoked, revoked]);
      await expectRefused(url, bound.token);
      await expectRefused(url, unbound.token);
      expect(await notify(url, { msg: "still here", channel: "msf" })).toMatchObject({ connections: 3 });
      for (const one of stay) expect(await one.count(1)).toEqual(["still here"]);
      // What the front service asks for from now on is of a new login.
      const { count } = await open(own, options);
      await notify(url, { msg: "welcome back", keycloak: user });
      expect((await count(1)).at(-1)).toBe("welcome back");
    });
  });
}

test("a logout that names only a session ends no page that is tied to none", async () => {
  const { url, open, logout } = await setUp();
  const { count } = await open(own);
  await logout({ sub: undefined });
  expect(await notify(url, { msg: "still here", keycloak: user })).toMatchObject({ connections: 1 });
  expect(await count(1)).toEqual(["still here"]);
});

test("with logout_ends_unlinked = false a logout of a session ends only what is tied to it", async () => {
  const { url, open, logout } = await setUp({ AMPER_LOGOUT_ENDS_UNLINKED: "false" });
  const [tied, stays] = [await open(`${own}&sid=${session}`), await open(own)];
  const end = endOf(tied);
  await logout();
  expect(await end).toEqual(revoked);
  expect(await notify(url, { msg: "still here", keycloak: user })).toMatchObject({ connections: 1 });
  expect(await stays.count(1)).toEqual(["still here"]);
});

test("a websocket token of an access token without a session ends as well", async () => {
  const { url, realm, logout } = await setUp();
  const token = await authorizeWith(url, await realm.mint({ sid: undefined }));
  const end = endOf(await connected(url, user, "msf", { token }));
  await logout();
  expect(await end).toEqual(revoked);
  await expectRefused(url, token);
});

test("a token that is tied to nothing dies with its user's logout although its issuer's clock was ahead", async () => {
  const { url, open, logout } = await setUp();
  const { token } = await open(own);
  await logout({ iat: Math.floor(Date.now() / 1000) + 4 });
  await expectRefused(url, token);
  // Newer than the logout, whatever clock made it.
  await open(own);
});

describe("over a restart", () => {
  test("by kill -9, tokens that a logout has ended are dead, tied or not; newer ones are good", async () => {
    const realm = await realmOf();
    const journal = `sqlite:${join(folder(), "journal.db")}`;
    const options = { env: { ...base, AMPER_JOURNAL: journal, AMPER_KEYCLOAK_ISSUER: realm.issuer } };
    const first = await launch(options);
    const ended = [await authorize(first.url, own), await authorize(first.url, `${own}&sid=${session}`)];
    const other = await authorize(first.url, `${own}&sid=another`);
    await logOut(first.url, realm);
    const newer = await authorize(first.url, own);
    first.kill("SIGKILL");
    await first.exited;
    const second = await launch(options);
    for (const { token } of ended) await expectRefused(second.url, token);
    for (const { token } of [other, newer]) await connected(second.url, user, "msf", { token });
  });
});

test("a sid without a keycloakID, one that is none, or two of them are 400", async () => {
  const { url } = await setUp();
  for (const query of [
    "?sid=x",
    `${own}&sid=`,
    `${own}&sid=a%20b`,
    `${own}&sid=${"x".repeat(256)}`,
    `${own}&sid=%C3%BC`,
    `${own}&sid=a&sid=b`,
  ]) {
    const answer = await fetch(`${url}/authorize${query}`, { headers: { Authorization: `Bearer ${wsToken}` } });
    const { errors } = await expectProblem(answer, "invalid_request");
    expect([query, errors?.[0]?.path]).toEqual([query, "sid"]);
  }
});
