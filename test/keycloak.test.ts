import { afterEach, describe, expect, test } from "bun:test";
import { exportSPKI, importJWK, SignJWT, UnsecuredJWT } from "jose";
import { tokenProblem } from "../src/authorize/authorize.ts";
import { takeApart, TokenRefused } from "../src/authorize/jwt.ts";
import {
  createKeycloak,
  type AccessToken,
  type KeycloakOptions,
  type KeycloakRealm,
} from "../src/authorize/keycloak.ts";
import type { JwksEvent } from "../src/observe/access-events.ts";
import { Problem } from "../src/model/problem.ts";
import { claimsOf, createClock, createKey, startRealm, user, type Behaviour, type Realm } from "./support/realm.ts";

const minute_ms = 60_000;
const hour_ms = 60 * minute_ms;

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map(async (cleanup) => cleanup()));
});

/** A realm as `GET /authorize` meets it: a token is taken apart, judged, and refused by a problem. */
function open(realm: Omit<KeycloakRealm, "name">, options: KeycloakOptions) {
  const { verify, jwks } = createKeycloak({ ...realm, name: "keycloak" }, options);
  return {
    async verify(text: string): Promise<AccessToken> {
      try {
        return await verify(takeApart(text, "access token"));
      } catch (error) {
        throw error instanceof TokenRefused ? tokenProblem(error) : error;
      }
    },
    ...jwks,
  };
}
type Keycloak = ReturnType<typeof open>;

async function setUp(
  given: { alg?: string; realm?: Partial<Omit<KeycloakRealm, "name">>; options?: KeycloakOptions } = {},
) {
  const clock = createClock();
  const realm = await startRealm({ now: clock.now, ...(given.alg === undefined ? {} : { alg: given.alg }) });
  cleanups.push(realm.stop);
  const events: JwksEvent[] = [];
  let waiting: (() => void) | undefined;
  const keycloak = open(
    {
      issuer: realm.issuer,
      audience: "amper-channels",
      clients: [],
      logout_clients: [],
      algorithms: ["RS256", "PS256", "ES256"],
      clock_tolerance_seconds: 5,
      ...given.realm,
    },
    {
      now: clock.now,
      uptime_ms: clock.now,
      schedule: clock.schedule,
      timeout_ms: 5_000,
      onEvent(event) {
        events.push(event);
        waiting?.();
      },
      ...given.options,
    },
  );
  cleanups.push(keycloak.stop);
  /** Does something that makes a fetch begin by itself, and waits for the end of that fetch. */
  async function untilFetched(trigger: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting = resolve;
    trigger();
    await promise;
  }
  return { clock, realm, keycloak, events, untilFetched };
}

async function problemOf(keycloak: Keycloak, token: string): Promise<Problem> {
  const outcome = await keycloak.verify(token).then(
    () => "accepted",
    (error: unknown) => error,
  );
  if (outcome instanceof Problem) return outcome;
  throw new Error("expected a problem", { cause: outcome });
}

async function expectRefusal(keycloak: Keycloak, token: string, detail: RegExp): Promise<void> {
  const { code, message } = await problemOf(keycloak, token);
  expect({ code, message }).toEqual({ code: "token_invalid", message: expect.stringMatching(detail) });
}

async function expectUnavailable(keycloak: Keycloak, token: string): Promise<void> {
  const { code, extras } = await problemOf(keycloak, token);
  expect(code).toBe("unavailable");
  expect(extras.headers).toEqual({ "Retry-After": "5" });
}

const newKeyId = (realm: Realm) => realm.mint({}, { header: { kid: crypto.randomUUID() } });

describe("an access token", () => {
  test("gives the user, the session, the client, the times, and the roles of realm and clients", async () => {
    const { keycloak, realm, clock } = await setUp();
    expect(await keycloak.verify(await realm.mint())).toEqual({
      realm: "keycloak",
      issuer: realm.issuer,
      user: expect.stringMatching(user),
      issuedAt_ms: clock.now(),
      expiresAt_ms: clock.now() + 5 * minute_ms,
      session: expect.stringMatching("0f8a4a5c-session"),
      client: "msf-web",
      roles: {
        realm: new Set(["offline_access", "dispatcher"]),
        ofClient: new Map([
          ["msf-web", new Set(["viewer"])],
          ["account", new Set(["view-profile"])],
          ["bare", new Set()],
        ]),
      },
    });
  });

  test("needs no roles, no session and no client", async () => {
    const { keycloak, realm } = await setUp();
    const none = { realm_access: undefined, resource_access: undefined, sid: undefined, azp: undefined };
    const access = await keycloak.verify(await realm.mint(none));
    expect(access).toMatchObject({
      session: null,
      client: null,
      roles: { realm: new Set(), ofClient: new Map() },
    });
  });

  test.each(["RS256", "PS256"])("may be signed with %s", async (alg) => {
    const { keycloak, realm } = await setUp({ alg });
    expect((await keycloak.verify(await realm.mint())).user).toMatch(user);
  });

  test.each([undefined, "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])("may have the header typ %s", async (typ) => {
    const { keycloak, realm } = await setUp();
    expect((await keycloak.verify(await realm.mint({}, { header: { typ } }))).client).toBe("msf-web");
  });

  test("may have our audience as a plain string", async () => {
    const { keycloak, realm } = await setUp();
    expect((await keycloak.verify(await realm.mint({ aud: "amper-channels" }))).client).toBe("msf-web");
  });

  test("is accepted for one of the configured clients", async () => {
    const { keycloak, realm } = await setUp({ realm: { clients: ["b2b-web", "msf-web"] } });
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
  });

  test("is good for 5 seconds beyond its expiry, since clocks differ", async () => {
    const { keycloak, realm, clock } = await setUp();
    const token = await realm.mint();
    clock.move(304_000);
    expect((await keycloak.verify(token)).client).toBe("msf-web");
  });
});

describe("refuses a token", () => {
  test("of another issuer, without a fetch", async () => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ iss: `${realm.issuer}/` }), /`iss` is not http/);
    await expectRefusal(keycloak, await realm.mint({ iss: undefined }), /`iss` is not http/);
    expect(realm.requests).toEqual({ discovery: 0, keys: 0 });
  });

  test.each([["other"], ["account"], [["account", "amper-channels-2"]], [undefined], [[]]])(
    "whose aud is %j, and names the mapper to add",
    async (aud) => {
      const { keycloak, realm } = await setUp();
      await expectRefusal(keycloak, await realm.mint({ aud }), /Audience mapper/);
    },
  );

  test("of a client that is not configured, or of none", async () => {
    const { keycloak, realm } = await setUp({ realm: { clients: ["b2b-web"] } });
    await expectRefusal(keycloak, await realm.mint(), /client \(`azp`\)/);
    await expectRefusal(keycloak, await realm.mint({ azp: undefined }), /client \(`azp`\)/);
  });

  test.each(["ID", "Refresh", "Offline", "Logout", "bearer", undefined])("whose typ is %p", async (typ) => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ typ }), /not an access token/);
  });

  test("that is an ID token with its own audience, without advice on mappers", async () => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ typ: "ID", aud: "msf-web" }), /not an access token/);
  });

  test.each(["logout+jwt", "secevent+jwt", 7])("whose header typ is %p", async (typ) => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({}, { header: { typ } }), /header needs/);
  });

  test("that names no key", async () => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({}, { header: { kid: undefined } }), /header needs/);
  });

  test("that is not signed (alg none)", async () => {
    const { keycloak, realm, clock } = await setUp();
    const claims = claimsOf(realm.issuer, clock.now());
    await expectRefusal(keycloak, new UnsecuredJWT(claims).encode(), /header needs/);
    const header = Buffer.from(JSON.stringify({ alg: "none", typ: "JWT", kid: realm.key.kid })).toString("base64url");
    const payload = Buffer.from(JSON.stringify(claims)).toString("base64url");
    await expectRefusal(keycloak, `${header}.${payload}.`, /not signed with RS256/);
  });

  test("signed with the realm's public key as an HMAC secret, even where HS256 is configured", async () => {
    const { keycloak, realm, clock } = await setUp({ alg: "RS256" });
    const careless = open(
      {
        issuer: realm.issuer,
        audience: "amper-channels",
        clients: [],
        logout_clients: [],
        algorithms: ["RS256", "HS256"],
        clock_tolerance_seconds: 5,
      },
      { now: clock.now, uptime_ms: clock.now, schedule: clock.schedule },
    );
    cleanups.push(careless.stop);
    const publicKey = await importJWK(realm.key.jwk, "RS256", { extractable: true });
    if (publicKey instanceof Uint8Array) throw new Error("expected a public key");
    const token = await new SignJWT(claimsOf(realm.issuer, clock.now()))
      .setProtectedHeader({ alg: "HS256", typ: "JWT", kid: realm.key.kid })
      .sign(new TextEncoder().encode(await exportSPKI(publicKey)));
    await expectRefusal(keycloak, token, /not signed with RS256/);
    await expectRefusal(careless, token, /not supported/);
  });

  test("signed with an HMAC secret that the realm publishes", async () => {
    const { keycloak, realm, clock } = await setUp({ realm: { algorithms: ["ES256", "HS256"] } });
    const k = Buffer.alloc(32, 1);
    realm.publish([realm.key.jwk, { kty: "oct", kid: "shared", alg: "HS256", use: "sig", k: k.toString("base64url") }]);
    const token = await new SignJWT(claimsOf(realm.issuer, clock.now()))
      .setProtectedHeader({ alg: "HS256", typ: "JWT", kid: "shared" })
      .sign(k);
    await expectRefusal(keycloak, token, /no such key/);
  });

  test("signed with an algorithm that is not configured", async () => {
    const { keycloak, realm } = await setUp({ alg: "ES384" });
    await expectRefusal(keycloak, await realm.mint(), /not signed with RS256, PS256, ES256/);
  });

  test("signed with a key of the realm that is for another algorithm", async () => {
    const { keycloak, realm } = await setUp({ alg: "RS256" });
    const key = await createKey("ES256", realm.key.kid);
    await expectRefusal(keycloak, await realm.mint({}, { key }), /not for the algorithm/);
  });

  test("that has expired", async () => {
    const { keycloak, realm, clock } = await setUp();
    const token = await realm.mint();
    clock.move(306_000);
    await expectRefusal(keycloak, token, /has expired/);
  });

  test("that is not valid yet", async () => {
    const { keycloak, realm, clock } = await setUp();
    const inAMinute = clock.now() / 1000 + 60;
    await expectRefusal(keycloak, await realm.mint({ nbf: inAMinute }), /not valid yet/);
    await expectRefusal(keycloak, await realm.mint({ iat: inAMinute }), /not valid yet/);
  });

  test.each(["exp", "iat"])("without a proper %s", async (claim) => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ [claim]: undefined }), new RegExp(`no valid \`${claim}\``));
    await expectRefusal(keycloak, await realm.mint({ [claim]: "soon" }), new RegExp(`no valid \`${claim}\``));
  });

  test("whose exp is beyond what a date can hold", async () => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ exp: 1e300 }), /`exp` is not what Keycloak/);
  });

  test("without sub, and says that it is a lightweight token and what adds it", async () => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ sub: undefined }), /lightweight.*mapper Subject \(sub\)/);
  });

  test.each(["", " ", "a line\n", "x".repeat(129), 7, null])("whose sub is %p", async (sub) => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ sub }), /not a keycloakID/);
  });

  test.each([
    ["realm_access", { roles: "admin" }],
    ["resource_access", { msf: { roles: [1] } }],
    ["azp", 7],
  ])("whose %s has another shape than Keycloak's", async (claim, value) => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(
      keycloak,
      await realm.mint({ [claim]: value }),
      new RegExp(`\`${claim}\` is not what Keycloak`),
    );
  });

  test("with a critical extension that is not known", async () => {
    const { keycloak, realm } = await setUp();
    const header = { crit: ["urn:example:extension"], "urn:example:extension": 1 };
    await expectRefusal(keycloak, await realm.mint({}, { header }), /demands an extension/);
  });

  test("of more than 64 KiB, without a fetch", async () => {
    const { keycloak, realm } = await setUp();
    await expectRefusal(keycloak, await realm.mint({ padding: "x".repeat(65_536) }), /longer than 64 KiB/);
    expect(realm.requests.discovery).toBe(0);
  });

  test("signed by a key of another realm under the kid of ours", async () => {
    const { keycloak, realm } = await setUp();
    const key = await createKey("ES256", realm.key.kid);
    await expectRefusal(keycloak, await realm.mint({}, { key }), /signature does not match/);
  });

  test("that brings its own key, embedded or by address", async () => {
    const { keycloak, realm } = await setUp();
    const key = await createKey("ES256");
    const header = { jwk: key.jwk, jku: `${realm.issuer}/elsewhere` };
    await expectRefusal(keycloak, await realm.mint({}, { key, header }), /no such key/);
  });

  test("of which one character was changed", async () => {
    const { keycloak, realm } = await setUp();
    const [header = "", payload = "", signature = ""] = (await realm.mint()).split(".");
    const changed = Buffer.from(payload, "base64url").toString().replace("dispatcher", "dispatchez");
    const token = `${header}.${Buffer.from(changed).toString("base64url")}.${signature}`;
    await expectRefusal(keycloak, token, /signature does not match/);
  });

  test.each(["", "garbage", "a.b.c", "..", "e30.e30.", "e30.e30.e30.e30.e30", "\u{1f600}.e30.e30"])(
    "that is garbage: %j",
    async (token) => {
      const { keycloak, realm } = await setUp();
      await expectRefusal(keycloak, token, /not a signed JWT|header needs/);
      expect(realm.requests.discovery).toBe(0);
    },
  );

  test("without repeating any of it", async () => {
    const { keycloak, realm } = await setUp();
    const token = await realm.mint({ aud: "secret-audience", sub: "secret-sub", azp: "secret-client" });
    const { message, extras } = await problemOf(keycloak, token);
    expect(JSON.stringify({ message, extras })).not.toMatch(/secret/);
  });
});

test("a challenge stays one ASCII header, whatever is configured", async () => {
  const { keycloak, realm } = await setUp({ realm: { audience: 'caf\u00e9 "b2b"\\\r\n' } });
  await expectRefusal(keycloak, await realm.mint(), /Audience mapper/);
});

test("an audience of `account` cannot be configured", () => {
  const realm = {
    name: "keycloak",
    issuer: "http://127.0.0.1:1",
    audience: "account",
    clients: [],
    logout_clients: [],
    algorithms: ["RS256"],
    clock_tolerance_seconds: 5,
  };
  expect(() => createKeycloak(realm)).toThrow(/cannot be `account`/);
});

describe("the keys of a realm", () => {
  test("are fetched once at the start, and then serve every token", async () => {
    const { keycloak, realm, events } = await setUp();
    expect(keycloak.health()).toEqual({ status: "unavailable", reason: "the realm's keys were not fetched yet" });
    await keycloak.start();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => realm.mint()));
    await Promise.all(tokens.map((token) => keycloak.verify(token)));
    expect(realm.requests).toEqual({ discovery: 1, keys: 1 });
    expect(keycloak.health()).toEqual({ status: "ok" });
    expect(events).toEqual([{ kind: "jwks_fetched", keys: 1 }]);
  });

  test("are fetched once for many tokens that arrive together before any key is there", async () => {
    const { keycloak, realm } = await setUp();
    const token = await realm.mint();
    await Promise.all(Array.from({ length: 20 }, () => keycloak.verify(token)));
    expect(realm.requests).toEqual({ discovery: 1, keys: 1 });
  });

  test("come from a configured address without discovery", async () => {
    const direct = await startRealm({ now: createClock().now });
    cleanups.push(direct.stop);
    const { keycloak } = await setUp({ realm: { issuer: direct.issuer, jwks_url: direct.jwks_url } });
    expect((await keycloak.verify(await direct.mint())).client).toBe("msf-web");
    expect(direct.requests).toEqual({ discovery: 0, keys: 1 });
  });

  test("are refreshed by a timer after 10 minutes, without a token waiting for it", async () => {
    const { keycloak, realm, clock, untilFetched } = await setUp();
    await keycloak.start();
    await realm.rotate();
    await untilFetched(() => clock.advance(10 * minute_ms));
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    expect(realm.requests.keys).toBe(2);
  });

  test("are refreshed behind the first token after 10 minutes where the timer is late", async () => {
    const { keycloak, realm, clock, untilFetched } = await setUp();
    await keycloak.start();
    const token = await realm.mint();
    await realm.rotate();
    clock.move(10 * minute_ms);
    const late = await realm.mint({}, { key: realm.key });
    await untilFetched(() => void problemOf(keycloak, token));
    expect((await keycloak.verify(late)).client).toBe("msf-web");
  });

  test("are refreshed once, however many tokens arrive when it is due", async () => {
    const { keycloak, realm, clock, untilFetched } = await setUp();
    await keycloak.start();
    clock.move(10 * minute_ms);
    const token = await realm.mint();
    await untilFetched(() => {
      void Promise.all(Array.from({ length: 20 }, () => keycloak.verify(token)));
      clock.advance(0);
    });
    await keycloak.verify(token);
    expect(realm.requests).toEqual({ discovery: 2, keys: 2 });
    expect(clock.timers.size).toBe(1);
  });

  test("that are new are fetched for the first token that names them; those that are gone stop working", async () => {
    const { keycloak, realm, clock } = await setUp();
    const old = await realm.mint();
    await keycloak.verify(old);
    await realm.rotate();
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    expect(clock.timers.size).toBe(1);
    await expectRefusal(keycloak, old, /no such key/);
  });

  test("that are new are found by all tokens that arrive together, with one fetch", async () => {
    const { keycloak, realm } = await setUp();
    await keycloak.start();
    await realm.rotate();
    const token = await realm.mint();
    await Promise.all(Array.from({ length: 20 }, () => keycloak.verify(token)));
    expect(realm.requests.keys).toBe(2);
  });

  test("that came while a fetch was under way are found by one more fetch, by every token that waits", async () => {
    const held = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    let fetches = 0;
    const { keycloak, realm, clock } = await setUp({
      options: {
        async fetch(url, init) {
          const response = await fetch(url, init);
          fetches += 1;
          // The second answer for keys is made before the rotation and arrives after it.
          if (fetches === 4) {
            arrived.resolve();
            await held.promise;
          }
          return response;
        },
      },
    });
    await keycloak.start();
    clock.advance(10 * minute_ms);
    await arrived.promise;
    await realm.rotate();
    const token = await realm.mint();
    const verified = Promise.all([keycloak.verify(token), keycloak.verify(token), keycloak.verify(token)]);
    held.resolve();
    expect(await verified).toHaveLength(3);
    expect(realm.requests.keys).toBe(3);
  });

  test("are left out where they are not for signatures, not public-key, or not understood", async () => {
    const { keycloak, realm, events } = await setUp();
    const { jwk } = realm.key;
    const encryption = await createKey("ES256");
    realm.publish([
      { kty: "oct", kid: "o", k: "c2VjcmV0" },
      { ...encryption.jwk, use: "enc" },
      { kty: "RSA", kid: "half" },
      { ...jwk, kid: undefined },
      "nonsense",
      jwk,
    ]);
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    expect(events).toEqual([{ kind: "jwks_fetched", keys: 1 }]);
    await expectRefusal(keycloak, await realm.mint({}, { key: encryption }), /no such key/);
  });

  test("that cannot be used are our fault, and not the user's", async () => {
    const { keycloak, realm } = await setUp();
    realm.publish([{ ...realm.key.jwk, x: "AAAA" }]);
    await expectUnavailable(keycloak, await realm.mint());
  });
});

describe("unknown key ids", () => {
  test("make three fetches, and then one in 10 seconds, however many come", async () => {
    const { keycloak, realm, clock } = await setUp();
    await keycloak.start();
    const flood = () => Promise.all(Array.from({ length: 100 }, () => newKeyId(realm)));
    const refuseAll = async (tokens: readonly string[]) =>
      Promise.all(tokens.map((token) => expectRefusal(keycloak, token, /no such key/)));
    for (const fetches of [2, 3, 4]) {
      await refuseAll(await flood());
      expect(realm.requests).toEqual({ discovery: fetches, keys: fetches });
    }
    const waitAll = async (seconds: string) => {
      for (const token of await flood()) {
        const { code, extras } = await problemOf(keycloak, token);
        expect([code, extras.headers]).toEqual(["unavailable", { "Retry-After": seconds }]);
      }
    };
    await waitAll("10");
    clock.move(9_999);
    await waitAll("1");
    expect(realm.requests.keys).toBe(4);
    clock.move(1);
    await refuseAll(await flood());
    expect(realm.requests.keys).toBe(5);
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
  });

  test("that were looked for make no second fetch within 10 seconds", async () => {
    const { keycloak, realm, clock } = await setUp();
    await keycloak.start();
    const token = await newKeyId(realm);
    const refuse = () => expectRefusal(keycloak, token, /no such key/);
    for (let i = 0; i < 10; i++) await refuse();
    clock.move(9_999);
    await refuse();
    expect(realm.requests.keys).toBe(2);
    clock.move(1);
    await refuse();
    expect(realm.requests.keys).toBe(3);
  });

  test("are our fault while the realm is down: 503, with no more fetches than the retries", async () => {
    const { keycloak, realm, clock } = await setUp();
    await keycloak.start();
    realm.behave("error");
    await expectUnavailable(keycloak, await newKeyId(realm));
    expect(realm.requests.keys).toBe(2);
    const flood = await Promise.all(Array.from({ length: 50 }, () => newKeyId(realm)));
    await Promise.all(flood.map((token) => expectUnavailable(keycloak, token)));
    expect(realm.requests.keys).toBe(2);
    clock.move(1_000);
    await Promise.all(flood.map((token) => expectUnavailable(keycloak, token)));
    expect(realm.requests.keys).toBe(3);
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
  });
});

describe("an outage of the realm", () => {
  test("does not stop tokens whose key is known; health is degraded until the realm is back", async () => {
    const { keycloak, realm, clock, untilFetched } = await setUp();
    await keycloak.start();
    realm.behave("error");
    await untilFetched(() => clock.advance(10 * minute_ms));
    const degraded = { status: "degraded", reason: "the realm answers with an error" } as const;
    expect(keycloak.health()).toEqual(degraded);
    await untilFetched(() => clock.advance(1_000));
    expect(keycloak.health()).toEqual(degraded);
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    realm.behave("well");
    await untilFetched(() => clock.advance(2_000));
    expect(keycloak.health()).toEqual({ status: "ok" });
  });

  test("of more than 24 hours ends the use of old keys, and its end brings everything back", async () => {
    const { keycloak, realm, clock, untilFetched } = await setUp();
    await keycloak.start();
    realm.behave("error");
    await untilFetched(() => clock.advance(10 * minute_ms));
    clock.move(24 * hour_ms - 10 * minute_ms - 1);
    await untilFetched(() => clock.advance(0));
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    clock.move(1);
    await expectUnavailable(keycloak, await realm.mint());
    expect(keycloak.health()).toMatchObject({ status: "unavailable", reason: "the realm answers with an error" });
    realm.behave("well");
    await untilFetched(() => clock.advance(minute_ms));
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    expect(keycloak.health()).toEqual({ status: "ok" });
  });

  test("is retried by a timer after 1, 2, 4, … 60 seconds, and after a success from 1 again", async () => {
    const { keycloak, realm, clock, events, untilFetched } = await setUp();
    realm.behave("error");
    await keycloak.start();
    const expected_ms = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
    for (const wait_ms of expected_ms.slice(0, -1)) {
      const before = realm.requests.discovery;
      clock.advance(wait_ms - 1);
      expect(realm.requests.discovery).toBe(before);
      // oxlint-disable-next-line no-await-in-loop -- each retry follows from the one before
      await untilFetched(() => clock.advance(1));
    }
    expect(events.map((event) => event.kind === "jwks_failed" && event.retry_ms)).toEqual(expected_ms);
    expect(clock.timers.size).toBe(1);
    realm.behave("well");
    await untilFetched(() => clock.advance(60_000));
    realm.behave("error");
    await untilFetched(() => clock.advance(10 * minute_ms));
    expect(events.at(-1)).toMatchObject({ kind: "jwks_failed", failures: 1, retry_ms: 1_000 });
  });

  test("at the start makes every token 503 at once, without a fetch for each", async () => {
    const { keycloak, realm } = await setUp();
    realm.behave("error");
    await keycloak.start();
    const token = await realm.mint();
    await Promise.all(Array.from({ length: 50 }, () => expectUnavailable(keycloak, token)));
    expect(realm.requests).toEqual({ discovery: 1, keys: 1 });
    expect(keycloak.health()).toMatchObject({ status: "unavailable", reason: "the realm answers with an error" });
  });

  test("still refuses what is no token at all as the user's fault", async () => {
    const { keycloak, realm } = await setUp();
    realm.behave("error");
    await keycloak.start();
    await expectRefusal(keycloak, "garbage", /not a signed JWT/);
  });

  test("in which nothing listens at the address is unavailable", async () => {
    const { keycloak, realm, events } = await setUp();
    const token = await realm.mint();
    await realm.stop();
    await expectUnavailable(keycloak, token);
    expect(events).toEqual([expect.objectContaining({ kind: "jwks_failed", reason: "unreachable" })]);
  });
});

describe("an answer that cannot be used", () => {
  const answers: [Behaviour, string][] = [
    ["error", "bad_status"],
    ["silent", "timeout"],
    ["stalled", "timeout"],
    ["redirecting", "redirected"],
    ["not_json", "malformed"],
    ["no_key_set", "malformed"],
    ["no_keys", "no_keys"],
    ["too_many_keys", "malformed"],
    ["huge", "too_large"],
    ["other_issuer", "wrong_issuer"],
    ["data_url", "malformed"],
  ];

  test.each(answers)("(%s) is a failure at the start: 503", async (behaviour, reason) => {
    const { keycloak, realm, events } = await setUp({ options: { timeout_ms: 100 } });
    realm.behave(behaviour);
    await expectUnavailable(keycloak, await realm.mint());
    expect(events).toEqual([expect.objectContaining({ kind: "jwks_failed", reason })]);
  });

  test.each(answers)("(%s) never replaces good keys", async (behaviour, reason) => {
    const { keycloak, realm, clock, events, untilFetched } = await setUp({ options: { timeout_ms: 100 } });
    await keycloak.start();
    realm.behave(behaviour);
    await untilFetched(() => clock.advance(10 * minute_ms));
    expect(events.at(-1)).toMatchObject({ kind: "jwks_failed", reason });
    expect((await keycloak.verify(await realm.mint())).client).toBe("msf-web");
    expect(keycloak.health().status).toBe("degraded");
  });

  test("is one that leads from https to http", async () => {
    const issuer = "https://login.example/realms/amper";
    const asked: string[] = [];
    const { keycloak, events } = await setUp({
      realm: { issuer },
      options: {
        fetch(url) {
          asked.push(url);
          return Promise.resolve(Response.json({ issuer, jwks_uri: "http://login.example/certs" }));
        },
        onEvent: (event) => asked.push(event.kind === "jwks_failed" ? event.reason : event.kind),
      },
    });
    await keycloak.start();
    expect(asked).toEqual([`${issuer}/.well-known/openid-configuration`, "unsafe_url"]);
    expect(events).toEqual([]);
  });
});

describe("after stop()", () => {
  test("no timer is left, and nothing is fetched", async () => {
    const { keycloak, realm, clock } = await setUp();
    await keycloak.start();
    keycloak.stop();
    expect(clock.timers.size).toBe(0);
    await expectUnavailable(keycloak, await newKeyId(realm));
    await keycloak.start();
    expect(realm.requests.keys).toBe(1);
    expect(keycloak.health()).toEqual({ status: "ok" });
  });

  test("a fetch under way is given up, and those who wait for it get 503", async () => {
    const { keycloak, realm, clock, events } = await setUp();
    await keycloak.start();
    realm.behave("silent");
    const waiting = expectUnavailable(keycloak, await newKeyId(realm));
    keycloak.stop();
    await waiting;
    expect(clock.timers.size).toBe(0);
    expect(events).toHaveLength(1);
  });
});
