import { afterEach, describe, expect, test } from "bun:test";
import type { Log } from "../src/observe/log.ts";
import { createWaiting } from "../src/revocations/waiting.ts";
import { authorize, connected, next } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { pick, seeded } from "./support/random.ts";
import { metric, until } from "./support/raw.ts";
import { createClock, startRealm, user, type Realm } from "./support/realm.ts";
import { quietLog, start } from "./support/service.ts";

/** Logouts whose key is not known yet. Keycloak sends each of them once. */

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

const atOnce = 50;

async function setUp(env: Record<string, string> = { AMPER_TRUST_PROXY_HOPS: "1", AMPER_METRICS_OPEN: "true" }) {
  const clock = createClock();
  const realm = await startRealm({ now: clock.now });
  realms.push(realm);
  const lost: unknown[] = [];
  const log: Log = { ...quietLog, error: (event, fields) => void (/logout lost/.test(event) && lost.push(fields)) };
  const service = await start({ AMPER_KEYCLOAK_ISSUER: realm.issuer, ...env }, { now: clock.now, log });
  const { url } = service;
  await until("the keys were fetched", async () => (await fetch(`${url}/health/ready`)).status === 200);
  const send = (token: string, from = "192.0.2.1") =>
    fetch(`${url}/backchannel-logout`, {
      method: "POST",
      headers: { "X-Forwarded-For": from },
      body: new URLSearchParams({ logout_token: token }),
    });
  const invented = (claims: Record<string, unknown> = {}) =>
    realm.mintLogout(claims, { header: { kid: crypto.randomUUID() } });
  /** Tokens of keys that do not exist: so many that more of them could not be judged now. */
  async function flood(count: number, from?: string): Promise<void> {
    for (let sent = 0; sent < count; sent += atOnce) {
      await Promise.all(Array.from({ length: atOnce }, async () => send(await invented(), from)));
    }
  }
  async function exhaust(): Promise<void> {
    while ((await send(await invented())).status === 400);
  }
  /** A page of the user, and how it ends. */
  async function open() {
    const { token } = await authorize(url, `?keycloakID=${user}`);
    const { socket } = await connected(url, user, "msf", { token });
    return next(socket, "closing");
  }
  const waiting = () => metric(url, "amper_logouts_waiting");
  const allJudged = () => until("all were judged", async () => (await waiting()) === 0);
  return { clock, realm, service, url, send, invented, flood, exhaust, open, waiting, allJudged, lost };
}

const revoked = { code: "revoked", reconnect: false };

describe("a logout that is signed by a new key takes effect as soon as the key is there", () => {
  test.each([
    ["from the same address", "192.0.2.1"],
    ["from another address", "198.51.100.7"],
  ])(
    "after 1,300 junk tokens of one address, %s",
    async (_, from) => {
      const { clock, realm, send, flood, open, waiting, allJudged } = await setUp();
      const end = open();
      await flood(1300, "192.0.2.1");
      expect(await waiting()).toBeLessThanOrEqual(100);
      await realm.rotate();
      const answer = await send(await realm.mintLogout({ sid: undefined }), from);
      expect(answer.headers.get("retry-after")).toBe("10");
      expect((await expectProblem(answer, "unavailable")).detail).toContain("waits here");
      clock.move(10_000);
      expect(await end).toEqual(revoked);
      await allJudged();
    },
    20_000,
  );

  test("after junk from so many addresses that all places are taken", async () => {
    const { clock, realm, url, send, flood, open, waiting, lost } = await setUp();
    const end = open();
    for (let i = 1; i <= 12; i++) await flood(100, `203.0.113.${i}`);
    expect(await waiting()).toBe(1000);
    await realm.rotate();
    await expectProblem(await send(await realm.mintLogout({ sid: undefined })), "unavailable");
    for (let i = 20; i <= 21; i++) await flood(100, `203.0.113.${i}`);
    expect(await waiting()).toBe(1000);
    expect(lost).not.toContainEqual(expect.objectContaining({ address: "192.0.2.1" }));
    expect(lost.length).toBeGreaterThan(300);
    expect(await metric(url, 'amper_logouts_lost_total{reason="no_room"}')).toBe(lost.length);
    clock.move(10_000);
    expect(await end).toEqual(revoked);
  });

  test("where limits per address are off, behind an undeclared proxy", async () => {
    const { clock, realm, send, flood, open } = await setUp({});
    const end = open();
    await flood(1300);
    await realm.rotate();
    await expectProblem(await send(await realm.mintLogout({ sid: undefined })), "unavailable");
    clock.move(10_000);
    expect(await end).toEqual(revoked);
  });

  test("after an outage of the realm that lasts minutes", async () => {
    const { clock, realm, send, open, lost } = await setUp();
    const end = open();
    realm.behave("error");
    await realm.rotate();
    await expectProblem(await send(await realm.mintLogout({ sid: undefined })), "unavailable");
    clock.move(590_000);
    realm.behave("well");
    expect(await end).toEqual(revoked);
    expect(lost).toEqual([]);
  });
});

test("a token that is no logout of ours gets no place, and makes no fetch", async () => {
  const { realm, send, invented, exhaust, waiting, clock } = await setUp();
  await exhaust();
  const before = [await waiting(), realm.requests.keys];
  const now = Math.floor(clock.now() / 1000);
  const strict = await setUp({ AMPER_KEYCLOAK_LOGOUT_CLIENTS: "msf-web" });
  await strict.exhaust();
  const fetched = strict.realm.requests.keys;
  await expectProblem(await strict.send(await strict.invented({ aud: "b2b-web" })), "logout_token_invalid");
  expect(strict.realm.requests.keys).toBe(fetched);
  for (const claims of [
    { iss: "https://evil.example/realms/amper" },
    { events: undefined },
    { jti: undefined },
    { nonce: "x" },
    { iat: now - 700, exp: now + 60 },
    { iat: now + 60 },
    { iat: now - 300, exp: now - 180 },
    { exp: undefined },
    { aud: undefined },
    { sub: undefined, sid: undefined },
  ]) {
    const { status } = await send(await invented(claims));
    expect([claims, status]).toEqual([claims, 400]);
  }
  expect([await waiting(), realm.requests.keys]).toEqual(before);
});

test("a logout that is sent again takes no second place, and counts once", async () => {
  const { clock, realm, url, send, exhaust, waiting, open, allJudged } = await setUp();
  const end = open();
  await exhaust();
  const before = await waiting();
  await realm.rotate();
  const token = await realm.mintLogout({ jti: "one", sid: undefined });
  for (let i = 0; i < 3; i++) await expectProblem(await send(token), "unavailable");
  await expectProblem(await send(await realm.mintLogout({ jti: "one", sid: undefined })), "unavailable");
  expect(await waiting()).toBe(before + 1);
  clock.move(10_000);
  expect(await end).toEqual(revoked);
  await allJudged();
  expect(await metric(url, 'amper_revocations_total{cause="user_logout"}')).toBe(1);
});

describe("the log and a metric tell of a logout that is given up", () => {
  test("because its key was not to be had in ten minutes", async () => {
    const { clock, realm, url, send, lost } = await setUp();
    realm.behave("error");
    await realm.rotate();
    const answer = await send(await realm.mintLogout());
    clock.move(601_000);
    await until("it was given up", () => lost.length > 0);
    expect(lost).toEqual([
      { reason: "too_late", address: "192.0.2.1", requestId: answer.headers.get("x-request-id") ?? "" },
    ]);
    expect(await metric(url, 'amper_logouts_lost_total{reason="too_late"}')).toBe(1);
  });

  test("because the service stops", async () => {
    const { realm, service, send, lost } = await setUp();
    realm.behave("error");
    await realm.rotate();
    await send(await realm.mintLogout());
    await service.stop();
    expect(lost).toMatchObject([{ reason: "stopped" }]);
  });
});

test("an address keeps its places while it has fewer than each of those that flood", () => {
  const { seed, random } = seeded();
  const waiting = createWaiting({ most: 40, mostPerAddress: 10 });
  // Of the last one, limits per address are off.
  const floods = ["a", "b", "c", "d", "e", "none"];
  const own = Array.from({ length: 4 }, (_, i) => ({ id: `own ${i}`, address: "keycloak" }));
  for (let i = 0; i < 2000; i++) {
    const at = i - 200;
    const mine = at % 10 === 0 ? own[at / 10] : undefined;
    const flood = pick(random, floods);
    const lost = waiting.add(mine ?? { id: String(i), address: flood === "none" ? undefined : flood });
    expect([seed, i, lost?.address]).not.toEqual([seed, i, "keycloak"]);
    expect(waiting.size).toBeLessThanOrEqual(40);
  }
  expect(waiting.all().filter(({ address }) => address === "keycloak")).toEqual(own);
});
