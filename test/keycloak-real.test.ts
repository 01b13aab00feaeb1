import { beforeAll, describe, expect, test } from "bun:test";
import { decodeProtectedHeader, SignJWT } from "jose";
import * as v from "valibot";
import type { Run } from "./support/binary.ts";
import { authorize, connected, next, notify, transports, type Page } from "./support/client.ts";
import { beginKeycloak, describeKeycloak, issuerOf, startKeycloak, stopKeycloak } from "./support/keycloak.ts";
import { admin, adminOfClient, setAttributes } from "./support/keycloak-admin.ts";
import { createBrowser, logoutByRefreshToken, type Browser, type Login } from "./support/keycloak-login.ts";
import { ask, channels, open, serve } from "./support/keycloak-service.ts";
import { expectProblem } from "./support/problem.ts";
import { until } from "./support/raw.ts";
import { claimsOf, createKey } from "./support/realm.ts";

const forbidden = { data: { code: "channel_forbidden" } };

/** A login in a browser of its own. */
function login(user: string, client: string, options: { realm?: string } = {}): Promise<Login> {
  return createBrowser().login(user, client, options);
}

/** What looks like a token of the realm, but for its key, which the realm has not. */
async function ofAnotherKey(isLogout = false): Promise<string> {
  const { alg, kid, privateKey } = await createKey("ES256");
  const events = { "http://schemas.openid.net/event/backchannel-logout": {} };
  const claims = { ...claimsOf(issuerOf("amper"), Date.now()), ...(isLogout && { events, jti: crypto.randomUUID() }) };
  return new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(privateKey);
}

function postLogout(url: string, token: string): Promise<Response> {
  return fetch(`${url}/backchannel-logout`, { method: "POST", body: new URLSearchParams({ logout_token: token }) });
}

/** From now on the realm signs with a new key, and publishes the old ones, too. */
async function rotate(name: string, priority: number): Promise<void> {
  await admin("POST", "amper/components", {
    name,
    providerId: "rsa-generated",
    providerType: keyProvider,
    config: { priority: [String(priority)], algorithm: ["RS256"] },
  });
}

const Components = v.array(v.object({ id: v.string(), providerId: v.string() }));
const keyProvider = "org.keycloak.keys.KeyProvider";

const logoutTo = (url: string) => ({ "backchannel.logout.url": `${url}/backchannel-logout` });

/** A service that Keycloak tells of logouts. */
async function serveLogouts(options: Parameters<typeof serve>[0] = {}): Promise<Run> {
  const run = await serve(options);
  for (const client of ["msf-web", "b2b-web", "desk-web"]) await setAttributes("amper", client, logoutTo(run.url));
  return run;
}

/** Resolves as soon as a page is told that it was logged out, and is cut. */
async function endOf({ socket }: Page): Promise<void> {
  const [closing] = await Promise.all([next(socket, "closing"), next(socket, "disconnect")]);
  expect(closing).toEqual({ code: "revoked", reconnect: false });
  expect(socket.active).toBe(false);
}

/** Not even a page that insists comes in with the websocket token that it has. */
async function expectStaysAway({ socket }: Page): Promise<void> {
  const refused = next(socket, "connect_error");
  socket.connect();
  expect(await refused).toMatchObject({ data: { code: "revoked" } });
}

await describeKeycloak("a real Keycloak", () => {
  describe("a service that starts before it", () => {
    // The first, as the last one stops it: Keycloak is slow to start, and is started once.
    test("is not ready, refuses nobody for good, and is well by itself as soon as Keycloak is there", async () => {
      await beginKeycloak();
      const { url, said } = await serve();
      await expectProblem(await ask(url, await ofAnotherKey()), "unavailable");
      const { reasons } = await expectProblem(await fetch(`${url}/health/ready`), "unavailable");
      expect(reasons).toEqual([expect.stringContaining("cannot be reached")]);

      await startKeycloak();
      await said(/"realm keys fetched"/);
      expect(await (await fetch(`${url}/health/ready`)).json()).toMatchObject({ status: "ready" });
      const alice = await login("alice", "msf-web");
      const { count } = await open(url, alice, "msf");
      await notify(url, { msg: "well again", keycloak: alice.sub });
      expect(await count(1)).toEqual(["well again"]);
    });
  });

  describe("its user", () => {
    beforeAll(startKeycloak);

    for (const [name, options] of Object.entries(transports)) {
      test(`logs in, authorizes, connects and is notified, ${name}`, async () => {
        const { url } = await serve();
        const alice = await login("alice", "msf-web");
        const { token, keycloakID } = await authorize(url, "", alice.access);
        expect(keycloakID).toBe(alice.sub);
        const page = await connected(url, alice.sub, "msf", { ...options, token });
        expect(await notify(url, { msg: { hello: 1 }, keycloak: alice.sub, channel: "msf" })).toMatchObject({
          connections: 1,
        });
        await notify(url, { msg: "to all", channel: "msf" });
        expect(await page.count(2)).toEqual([{ hello: 1 }, "to all"]);
        await expect(connected(url, "somebody-else", "msf", { token })).rejects.toMatchObject({
          data: { code: "keycloak_mismatch" },
        });
      });
    }

    test("joins the channels of his realm roles, of his client roles and of his client, and no other", async () => {
      const { url } = await serve();
      const expected: [user: string, client: string, channels: string[]][] = [
        ["alice", "msf-web", ["news", "msf"]],
        ["alice", "b2b-web", ["news", "msf", "b2b"]],
        ["bob", "msf-web", ["news"]],
        ["bob", "b2b-web", ["news", "b2b"]],
        ["carol", "msf-web", ["news", "desk"]],
        // A role of another client counts as well, whatever client the user came by.
        ["carol", "b2b-web", ["news", "desk", "b2b"]],
      ];
      for (const [user, client, allowed] of expected) {
        const { access, sub } = await login(user, client);
        const { token, channels: granted } = await authorize(url, "", access);
        expect([user, client, granted]).toEqual([user, client, allowed]);
        for (const channel of ["news", "msf", "desk", "b2b"]) {
          const joining = connected(url, sub, channel, { token });
          if (allowed.includes(channel)) await joining;
          else await expect(joining).rejects.toMatchObject(forbidden);
        }
      }
    });

    test("who may join no channel at all is told so", async () => {
      const { url } = await serve({ rest: '[channels.msf]\nroles = ["msf-user"]' });
      await expectProblem(await ask(url, (await login("bob", "msf-web")).access), "no_channel");
    });

    test("is refused, and told why, with a token that is not meant for us", async () => {
      const { url } = await serve({ keycloak: 'clients = ["msf-web"]' });
      const alice = await login("alice", "msf-web");
      const refused: [token: string, detail: string][] = [
        [alice.id, "not an access token (`typ` Bearer): send the access token, not the ID or the refresh token"],
        [alice.refresh, "A refresh token never is: send the access token"],
        [(await login("pat", "partner-web", { realm: "partners" })).access, `\`iss\` is not ${issuerOf("amper")}`],
        [(await login("alice", "other-web")).access, "add an Audience mapper"],
        [(await login("alice", "b2b-web")).access, "a client (`azp`) whose users are not accepted here"],
      ];
      for (const [token, detail] of refused) {
        const response = await ask(url, token);
        expect(response.headers.get("www-authenticate")).toStartWith('Bearer error="invalid_token"');
        expect((await expectProblem(response, "token_invalid")).detail).toContain(detail);
      }
      expect((await ask(url, alice.access)).status).toBe(200);
    });

    test("with a lightweight access token is refused, and the remedy that the answer names is one", async () => {
      const { url } = await serve();
      const light = await ask(url, (await login("alice", "light-web")).access);
      const { detail } = await expectProblem(light, "token_invalid");
      expect(detail).toContain("add the mapper Subject (sub)");
      expect(detail).toContain("turn on its setting Add to lightweight access token");

      await adminOfClient("POST", "amper", "light-web", "protocol-mappers/models", {
        name: "subject",
        protocol: "openid-connect",
        protocolMapper: "oidc-sub-mapper",
        config: { "access.token.claim": "true", "lightweight.claim": "true" },
      });
      const alice = await login("alice", "light-web");
      const { count } = await open(url, alice, "news");
      await notify(url, { msg: "light", keycloak: alice.sub });
      expect(await count(1)).toEqual(["light"]);
    });

    test("with a lightweight access token that has no audience is told which switch of the mapper is off", async () => {
      const { url } = await serve();
      const thin = await ask(url, (await login("alice", "thin-web")).access);
      const { detail } = await expectProblem(thin, "token_invalid");
      expect(detail).toContain("Add to lightweight access token");
    });
  });

  describe("a logout", () => {
    beforeAll(startKeycloak);

    const ways: Record<string, (browser: Browser, page: Login) => Promise<unknown>> = {
      "of the user, in his browser": (browser, page) => browser.logout(page),
      "of the user, by his refresh token": (_, page) => logoutByRefreshToken(page),
      "by an administrator who ends the session": (_, { sid }) => admin("DELETE", `amper/sessions/${sid}`),
    };
    for (const [name, end] of Object.entries(ways)) {
      test(`${name}, ends that session's connections for good, and no others`, async () => {
        const { url } = await serveLogouts();
        const [phone, laptop] = [createBrowser(), createBrowser()];
        const [msf, b2b] = [await phone.login("alice", "msf-web"), await phone.login("alice", "b2b-web")];
        const other = await laptop.login("alice", "msf-web");
        expect([msf.sid === b2b.sid, msf.sid === other.sid]).toEqual([true, false]);
        const gone = [await open(url, msf, "msf"), await open(url, msf, "news"), await open(url, b2b, "b2b")];
        const stays = await open(url, other, "msf");

        const ended = gone.map(endOf);
        await end(phone, msf);
        await Promise.all(ended);

        await Promise.all(gone.map(expectStaysAway));
        for (const { access } of [msf, b2b]) await expectProblem(await ask(url, access), "token_invalid");
        expect(await notify(url, { msg: "who is left", keycloak: msf.sub })).toMatchObject({ connections: 1 });
        expect(await stays.count(1)).toEqual(["who is left"]);
        expect((await ask(url, other.access)).status).toBe(200);
        // At once, in the same second.
        const back = await open(url, await phone.login("alice", "msf-web"), "msf");
        await notify(url, { msg: "welcome back", keycloak: msf.sub });
        expect(await back.count(1)).toEqual(["welcome back"]);
      });
    }

    test("by an administrator who logs the user out ends the connections of all his sessions", async () => {
      const { url } = await serveLogouts();
      const [phone, laptop, bob] = [
        await login("alice", "msf-web"),
        await login("alice", "b2b-web"),
        await login("bob", "msf-web"),
      ];
      const gone = [await open(url, phone, "msf"), await open(url, laptop, "b2b")];
      const stays = await open(url, bob, "news");

      const ended = gone.map(endOf);
      await admin("POST", `amper/users/${phone.sub}/logout`);
      await Promise.all(ended);

      await Promise.all(gone.map(expectStaysAway));
      for (const { access } of [phone, laptop]) await expectProblem(await ask(url, access), "token_invalid");
      const back = await open(url, await login("alice", "msf-web"), "news");
      expect(await notify(url, { msg: "who is left", channel: "news" })).toMatchObject({ connections: 2 });
      expect(await stays.count(1)).toEqual(["who is left"]);
      expect(await back.count(1)).toEqual(["who is left"]);
    });

    test("at a client whose logout tokens name no session ends all of the user's connections", async () => {
      const { url } = await serveLogouts();
      const desk = createBrowser();
      const [here, elsewhere, bob] = [
        await desk.login("alice", "desk-web"),
        await login("alice", "msf-web"),
        await login("bob", "msf-web"),
      ];
      const gone = [await open(url, here, "news"), await open(url, elsewhere, "msf")];
      const stays = await open(url, bob, "news");

      const ended = gone.map(endOf);
      await desk.logout(here);
      await Promise.all(ended);

      const second = Math.floor(Date.now() / 1000);
      await Promise.all(gone.map(expectStaysAway));
      for (const { access } of [here, elsewhere]) await expectProblem(await ask(url, access), "token_invalid");
      // Tokens tell whole seconds: one of the same second cannot be told from those of before.
      await until("the next second", () => Date.now() / 1000 >= second + 1);
      const back = await open(url, await login("alice", "msf-web"), "news");
      expect(await notify(url, { msg: "who is left", channel: "news" })).toMatchObject({ connections: 2 });
      expect(await stays.count(1)).toEqual(["who is left"]);
      expect(await back.count(1)).toEqual(["who is left"]);
    });

    test("ends the pages that a front service tied to its session, and those tied to none, and no others", async () => {
      const { url } = await serveLogouts();
      const phone = createBrowser();
      const [msf, other] = [await phone.login("alice", "msf-web"), await login("alice", "msf-web")];
      // As the front service's own server asks, for the users who are logged in with it.
      const openFor = async (query: string) => {
        const { token } = await authorize(url, `?keycloakID=${msf.sub}${query}`);
        return connected(url, msf.sub, "msf", { token });
      };
      const gone = [await openFor(`&sid=${msf.sid}`), await openFor("")];
      const stays = await openFor(`&sid=${other.sid}`);

      const ended = gone.map(endOf);
      await phone.logout(msf);
      await Promise.all(ended);

      await Promise.all(gone.map(expectStaysAway));
      expect(await notify(url, { msg: "who is left", keycloak: msf.sub })).toMatchObject({ connections: 1 });
      expect(await stays.count(1)).toEqual(["who is left"]);
    });

    test("at a client that is not one of logout_clients ends nothing", async () => {
      const { url } = await serveLogouts({ keycloak: 'logout_clients = ["b2b-web"]' });
      const [msf, b2b] = [createBrowser(), createBrowser()];
      const [stays, goes] = [await msf.login("alice", "msf-web"), await b2b.login("alice", "b2b-web")];
      const page = await open(url, stays, "msf");
      const ended = endOf(await open(url, goes, "b2b"));
      // Keycloak waits for our answer before it gives its own.
      await msf.logout(stays);
      await b2b.logout(goes);
      await ended;
      expect(await notify(url, { msg: "still here", keycloak: stays.sub })).toMatchObject({ connections: 1 });
      expect(await page.count(1)).toEqual(["still here"]);
    });
  });

  describe("a second realm", () => {
    beforeAll(startKeycloak);

    test("has users, channels and logouts of its own", async () => {
      const { url } = await serveLogouts({
        rest: `${channels}
          [keycloak.realms.partners]
          issuer = "${issuerOf("partners")}"
          [keycloak.realms.partners.channels.news]
          [keycloak.realms.partners.channels.deals]
          roles = ["partner"]
        `,
      });
      await setAttributes("partners", "partner-web", logoutTo(url));
      const [alice, phone] = [await login("alice", "msf-web"), createBrowser()];
      const pat = await phone.login("pat", "partner-web", { realm: "partners" });
      const quinn = await login("quinn", "partner-web", { realm: "partners" });

      expect((await authorize(url, "", alice.access)).channels).toEqual(["news", "msf"]);
      // His role `msf-user` is one of his own realm.
      expect((await authorize(url, "", pat.access)).channels).toEqual(["news", "deals"]);
      expect((await authorize(url, "", quinn.access)).channels).toEqual(["news"]);
      await expect(open(url, pat, "msf")).rejects.toMatchObject(forbidden);
      await expect(open(url, alice, "deals")).rejects.toMatchObject(forbidden);

      const gone = await open(url, pat, "deals");
      const stay = [await open(url, alice, "news"), await open(url, quinn, "news")];
      const ended = endOf(gone);
      await phone.logout(pat);
      await ended;
      await expectStaysAway(gone);
      await expectProblem(await ask(url, pat.access), "token_invalid");
      expect(await notify(url, { msg: "both realms", channel: "news" })).toMatchObject({ connections: 2 });
      for (const page of stay) expect(await page.count(1)).toEqual(["both realms"]);
    });
  });

  describe("its keys", () => {
    beforeAll(startKeycloak);

    test("are taken as soon as tokens are signed with them, and as long as the realm publishes them", async () => {
      const { url } = await serve();
      const before = await login("alice", "msf-web");
      expect((await ask(url, before.access)).status).toBe(200);
      const old = v.parse(Components, await admin("GET", `amper/components?type=${keyProvider}`));
      await rotate("rotated", 1000);
      const after = await login("alice", "msf-web");
      expect(decodeProtectedHeader(after.access).kid).not.toBe(decodeProtectedHeader(before.access).kid);
      expect((await ask(url, after.access)).status).toBe(200);
      expect((await ask(url, before.access)).status).toBe(200);

      for (const { id, providerId } of old) {
        if (providerId === "rsa-generated") await admin("DELETE", `amper/components/${id}`);
      }
      // It has no older keys to go on with.
      const fresh = await serve();
      expect((await ask(fresh.url, after.access)).status).toBe(200);
      const { detail } = await expectProblem(await ask(fresh.url, before.access), "token_invalid");
      expect(detail).toContain("The realm has no such key");
    });

    test("that are new are found whatever strangers have asked for before, by a login and by a logout", async () => {
      const { url } = await serveLogouts();
      const phone = createBrowser();
      const alice = await phone.login("alice", "msf-web");
      const page = await open(url, alice, "msf");
      const ended = endOf(page);
      for (const post of [ask, postLogout]) {
        // Until the service does not look for any more of them now.
        while ((await post(url, await ofAnotherKey(post === postLogout))).status !== 503);
      }
      await rotate("rotated-again", 2000);
      // Keycloak sends it once, and waits for no key of ours.
      await phone.logout(alice);
      await ended;
      await expectStaysAway(page);
      const fresh = await login("alice", "msf-web");
      expect((await ask(url, fresh.access)).status).toBe(200);
    });

    test("outlive Keycloak: who is logged in authorizes and connects while it is away", async () => {
      const { url, said } = await serve();
      const alice = await login("alice", "msf-web");
      const page = await open(url, alice, "msf");
      await stopKeycloak();
      // A key that is not known makes the service look for it.
      await expectProblem(await ask(url, await ofAnotherKey()), "unavailable");
      await said(/"realm keys not fetched"/);
      const ready = await fetch(`${url}/health/ready`);
      expect(ready.status).toBe(200);
      expect(await ready.json()).toMatchObject({
        status: "degraded",
        reasons: [expect.stringContaining("cannot be reached")],
      });
      const another = await open(url, alice, "news");
      await notify(url, { msg: "still here", keycloak: alice.sub });
      expect(await page.count(1)).toEqual(["still here"]);
      expect(await another.count(1)).toEqual(["still here"]);
    });
  });
});
