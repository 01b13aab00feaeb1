import { createHmac } from "node:crypto";
import { afterEach, describe, expect, test } from "bun:test";
import { decodeJwt } from "jose";
import * as v from "valibot";
import { createAccess } from "../src/authorize/access.ts";
import { createAdmission } from "../src/authorize/admission.ts";
import { createAuthorize } from "../src/authorize/authorize.ts";
import { select, tableOf } from "../src/authorize/channel-table.ts";
import type { AccessToken } from "../src/authorize/keycloak.ts";
import { createRevocations } from "../src/authorize/revocations.ts";
import { createTokens } from "../src/authorize/tokens.ts";
import { Channel, KeycloakId, SessionId } from "../src/model/names.ts";
import { loadSettings } from "../src/settings/load.ts";
import { authorize, connected, next, page, transports } from "./support/client.ts";
import { pick, seeded, type Random } from "./support/random.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { plainClock } from "./support/clocks.ts";
import { settingsOf, start, wsToken } from "./support/service.ts";

/** What /authorize issues, a CONNECT takes, however many channels there are. */

const secret = "0123456789abcdef0123456789abcdef";
const most_bytes = 4096;

const realms: Realm[] = [];
afterEach(async () => {
  await Promise.all(realms.splice(0).map((one) => one.stop()));
});

const names = (count: number) => Array.from({ length: count }, (_, i) => `application-${i}.example`);

/** Channels of which each asks for a role of its own, and what it takes to have every `nth` of them. */
const asking = (channels: readonly string[]) =>
  channels.map((name, i) => `[channels."${name}"]\nroles = ["role-${i}"]\n`).join("");
const rolesOf = (count: number, nth: number) => ({
  realm_access: { roles: Array.from({ length: Math.ceil(count / nth) }, (_, i) => `role-${i * nth}`) },
});

async function serveRealm(toml: string) {
  const realm = await startRealm({ now: Date.now });
  realms.push(realm);
  const env = { AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_TOKEN_SECRET: secret };
  return { realm, env, ...(await start(env, { toml })) };
}

describe("a token for 200 channels", () => {
  for (const [name, options] of Object.entries(transports)) {
    test(`through a WS token is short, and opens each of them, ${name}`, async () => {
      const channels = names(200);
      const toml = `[ws_tokens.front]\ntoken = "${wsToken}"\nchannels = ${JSON.stringify(channels)}`;
      const { url } = await start({}, { toml });
      const { token, channels: granted } = await authorize(url, "?keycloakID=alice");
      expect(granted).toEqual(channels);
      expect(token.length).toBeLessThan(most_bytes);
      for (const channel of [channels[0], channels[77], channels[199]])
        await connected(url, "alice", channel ?? "", { token, ...options });
      const other = connected(url, "alice", "application-200.example", { token, ...options });
      await expect(other).rejects.toMatchObject({ data: { code: "channel_forbidden" } });
    });
  }

  test("of a user is short, opens those that his roles allow, and no other", async () => {
    const channels = names(200);
    const { realm, url } = await serveRealm(asking(channels));
    const { token, channels: granted } = await authorize(url, "", await realm.mint(rolesOf(200, 2)));
    expect(granted).toEqual(channels.filter((_, i) => i % 2 === 0));
    expect(token.length).toBeLessThan(most_bytes);
    for (const i of [0, 2, 98, 198]) await connected(url, user, channels[i] ?? "", { token });
    for (const i of [1, 3, 99, 199]) {
      await expect(connected(url, user, channels[i] ?? "", { token })).rejects.toMatchObject({
        data: { code: "channel_forbidden" },
      });
    }
  });

  test("is good after a restart with the same rules; with others the page needs a new one", async () => {
    const channels = names(200);
    const { realm, env, url } = await serveRealm(asking(channels));
    const { token } = await authorize(url, "", await realm.mint(rolesOf(200, 2)));
    const again = await start(env, { toml: asking(channels.toReversed().map((_, i) => channels[i] ?? "")) });
    await connected(again.url, user, channels[4] ?? "", { token });
    const changed = await start(env, { toml: asking([...channels, "more"]) });
    await expect(connected(changed.url, user, channels[4] ?? "", { token })).rejects.toMatchObject({
      data: { code: "token_expired" },
    });
  });

  test("outlives a reload that adds a channel, and that changes the rule of another", async () => {
    const channels = names(200);
    const { realm, env, url, reload } = await serveRealm(asking(channels));
    const { token } = await authorize(url, "", await realm.mint(rolesOf(200, 2)));
    const stays = await connected(url, user, channels[4] ?? "", { token });
    const rules = asking([...channels, "more"]).replace('"role-6"', '"another"');
    expect(reload(settingsOf(env, rules))).toBe(0);
    expect(stays.socket.connected).toBe(true);
    await connected(url, user, channels[2] ?? "", { token });
    for (const [channel, code] of [
      [channels[6], "token_expired"],
      [channels[5], "channel_forbidden"],
      ["more", "channel_forbidden"],
    ] as const) {
      const { socket } = page(url, { token, keycloakID: user, channel });
      expect(await next(socket, "connect_error")).toMatchObject({ data: { code } });
    }
  });
});

test("a token as an earlier version issued it, with a list of 10 KB, stays valid where max_client_bytes lets it in", async () => {
  const channels = names(300);
  const env = { AMPER_TOKEN_SECRET: secret, AMPER_MAX_CLIENT_BYTES: "16 KiB" };
  const toml = `[ws_tokens.front]\ntoken = "${wsToken}"\nchannels = ${JSON.stringify(channels)}`;
  const { url } = await start(env, { toml });
  const [head] = (await authorize(url, "?keycloakID=alice")).token.split(".");
  const { via, iat, exp } = decodeJwt((await authorize(url, "?keycloakID=alice")).token);
  const payload = { iss: "amper-channels", sub: "alice", via, channels, iat, exp };
  const signed = `${head}.${Buffer.from(JSON.stringify(payload)).toString("base64url")}`;
  const token = `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  expect(token.length).toBeGreaterThan(8000);
  await connected(url, "alice", channels[250] ?? "", { token });
});

describe("a token with a good signature is no guess", () => {
  const limit = { AMPER_TRUST_PROXY_HOPS: "1", AMPER_AUTH_FAILURES_PER_MINUTE: "5", AMPER_TOKEN_SECRET: secret };
  const from = { "X-Forwarded-For": "192.0.2.1" };

  test("even if it is too long, or says what no version writes", async () => {
    const { url } = await start({ ...limit, AMPER_MAX_CLIENT_BYTES: "128 KiB" });
    const { token } = await authorize(url, "?keycloakID=alice");
    const [head] = token.split(".");
    for (const more of [{ padding: "x".repeat(20_000) }, { channels: 7 }]) {
      const payload = Buffer.from(JSON.stringify({ ...decodeJwt(token), ...more })).toString("base64url");
      const bad = `${head}.${payload}.${createHmac("sha256", secret).update(`${head}.${payload}`).digest("base64url")}`;
      for (let i = 0; i < 6; i++) {
        const { socket } = page(url, { token: bad, keycloakID: "alice", channel: "msf" }, { extraHeaders: from });
        expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "token_invalid" } });
      }
    }
    await connected(url, "alice", "msf", { token, extraHeaders: from });
  });

  test("nor where a page sends its websocket token to /authorize", async () => {
    const { realm, url } = await serveRealm("");
    const limited = await start({ ...limit, AMPER_KEYCLOAK_ISSUER: realm.issuer });
    for (const service of [limited.url, (await start(limit)).url]) {
      const { token } = await authorize(service, "?keycloakID=alice");
      const ask = (secretOf: string) =>
        fetch(`${service}/authorize`, { headers: { Authorization: `Bearer ${secretOf}`, ...from } });
      for (let i = 0; i < 6; i++) {
        expect((await expectProblem(await ask(token), "token_invalid")).detail).toContain("websocket token");
      }
      expect((await ask(wsToken)).status).toBe(200);
      for (let i = 0; i < 5; i++) await expectProblem(await ask(`${token}x`), "token_invalid");
      await expectProblem(await ask(`${token}x`), "rate_limited");
    }
    expect(url).toStartWith("http");
  });
});

test("whatever is configured and whoever asks: a token stays below 4 KiB, and opens what was granted", async () => {
  const { seed, random } = seeded();
  for (let round = 0; round < 60; round++) {
    const made = make(random);
    const service = compose(made);
    const { token, channels } = await service.authorize({
      secret: made.asks,
      scheme: "bearer",
      query: new URLSearchParams(made.query),
      client: { address: "192.0.2.1", key: undefined },
      trail: { requestId: "1" },
    });
    expect([seed, round, token.length < most_bytes]).toEqual([seed, round, true]);
    const keycloakID = made.who.user;
    for (let i = 0; i < 30; i++) {
      const channel = pick(random, made.names);
      const isKnown = !made.hasRules || channel !== "another";
      const isGranted = isKnown && (channels === "*" || channels.some((one) => one === channel));
      const admitted = service.admit({ token, keycloakID, channel });
      const outcome = typeof admitted === "string" ? admitted : admitted.channel;
      expect([seed, round, channel, outcome]).toEqual([
        seed,
        round,
        channel,
        isGranted ? channel : "channel_forbidden",
      ]);
    }
  }
});

test("the longest token there can be is below 4 KiB: 10,000 channels, and names that take the most bytes", () => {
  const channels = names(10_000).map((name) => v.parse(Channel, name));
  const table = tableOf(channels, new Map());
  const { issue } = createTokens({
    secrets: [secret],
    ttl_seconds: 36_000,
    clock: plainClock(() => 1_767_225_600_123),
  });
  const { token } = issue({
    user: v.parse(KeycloakId, "\u{1f600}".repeat(128)),
    session: v.parse(SessionId, '"'.repeat(255)),
    channels,
    rules: [],
    via: "x".repeat(16),
    selection: () => select(table, channels.slice(1)),
  });
  expect(token.length).toBeLessThan(most_bytes);
});

/** Settings of any size, and a user or a front service who asks for a token. */
function make(random: Random) {
  const below = (n: number) => Math.floor(random() * n);
  const count = pick(random, [1, 5, 20, 20, 60, 60, 200, 200, 1000, 3000]);
  const suffix = "x".repeat(below(56));
  const channels = Array.from({ length: count }, (_, i) => `c${i}-${suffix}`);
  const kinds = pick(random, [1, 2, 50, count]);
  const rules = channels.map((name, i) => {
    const role = below(4) === 0 ? [] : [`r${i % kinds}`];
    return `[channels.${name}]\n${role.length > 0 ? `roles = ${JSON.stringify(role)}\n` : ""}`;
  });
  const share = random();
  const roles = Array.from({ length: kinds }, (_, i) => `r${i}`).filter(() => random() < share);
  const hasRules = random() < 0.8;
  const byRealm = random() < 0.5;
  const letter = pick(random, ["a", '"', "\\", "ü", "\u{1f600}"]);
  const who = {
    user: v.parse(KeycloakId, letter.repeat(1 + below(128))),
    session: v.parse(v.nullable(SessionId), pick(random, [null, "s", '"'.repeat(255)])),
  };
  const listed = random() < 0.7 ? `channels = ${JSON.stringify(channels)}\n` : "";
  const toml = `[ws_tokens.front]\ntoken = "${wsToken}"\n${listed}${hasRules ? ["[channels.open]\n", ...rules].join("") : ""}`;
  return {
    toml,
    who,
    roles,
    hasRules,
    names: [...channels, "open", "another"],
    asks: byRealm ? "a.b.c" : wsToken,
    query: byRealm ? {} : { keycloakID: who.user },
  };
}

/** The rooms that issue and take tokens, with a realm that takes the user at his word. */
function compose({ toml, who, roles }: ReturnType<typeof make>) {
  const settings = settingsOf({ AMPER_KEYCLOAK_ISSUER: "https://id.example.com/realms/amper" }, toml);
  const now = () => 1_767_225_600_123;
  const clock = plainClock(now);
  const revocations = createRevocations({ keep_ms: 1000, clock });
  const tokens = createTokens({ secrets: [secret], ttl_seconds: 36_000, clock });
  const access = createAccess(settings, { secrets: [secret], revocations, now });
  const token: AccessToken = {
    ...who,
    realm: "keycloak",
    issuer: "https://id.example.com/realms/amper",
    issuedAt_ms: now(),
    expiresAt_ms: now() + 1000,
    client: null,
    roles: { realm: new Set(roles), ofClient: new Map() },
  };
  const authorizing = createAuthorize({
    access,
    tokens,
    revocations,
    realms: {
      verify: () => Promise.resolve(token),
      verifyLogout: () => Promise.reject(new Error("not asked")),
      health: () => [],
      ages: () => [],
      start() {},
      stop() {},
    },
    gate: { signature() {}, authorize() {}, frontService() {} },
    events: { authorized() {} },
  });
  return { authorize: authorizing, ...createAdmission({ access, tokens }) };
}

test("more channels than a token has bits for stop the start; a CONNECT that cannot come is warned of", () => {
  const load = (toml: string, env = {}) => loadSettings({ args: ["--config=a.toml"], env, readFile: () => toml });
  expect(load(asking(names(10_001)).replaceAll(/\.example|pplication|\nroles = .*/g, ""))).toMatchObject({
    ok: false,
    problems: ["channels in a.toml must name at most 10000 channels"],
  });
  expect(load("", { AMPER_MAX_CLIENT_BYTES: "2000" }).warnings).toEqual([
    "AMPER_MAX_CLIENT_BYTES is less than what a CONNECT may need: 8 KiB",
  ]);
});
