import { afterEach, expect, test } from "bun:test";
import { createPublicKey, KeyObject, sign as signWith, verify as verifyWith } from "node:crypto";
import { encode, mutateDraft, type Draft, type Sent } from "./support/fuzz-request.ts";
import { addressOf, flawOf, fuzz, secret, target } from "./support/fuzz.ts";
import { base64url, jwtOf, mutateJwt, oddSignedJwt, type JwtParts, type Sign } from "./support/fuzz-jwt.ts";
import * as mutations from "./support/mutations.ts";
import { below, chance, membersOf, mutateText, objectOf, times } from "./support/mutations.ts";
import { pick, type Random } from "./support/random.ts";
import { handled, talk, type Answer } from "./support/raw.ts";
import { claimsOf, startRealm, user } from "./support/realm.ts";
import { apiKey, wsToken } from "./support/service.ts";

/**
 * Whatever is sent to where strangers may send, the executable answers it with a problem that is documented, serves nobody who
 * has no right to it, and goes on as before. SEED repeats a round, FUZZ_ROUNDS makes more of them.
 */

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((cleanup) => cleanup()));
});

interface Endpoint {
  readonly path: string;
  readonly draft: (random: Random) => Draft;
  readonly mutateBody: (random: Random, body: string) => string;
  /** Whether there is something in a request for which it may be served. */
  readonly isEntitled: (text: string) => boolean;
  /** Whether it names a key that has to be looked for: then it may be told to come back. */
  readonly mayWait?: (text: string) => boolean;
  readonly env?: Record<string, string>;
}

async function storm({ path, draft, mutateBody, isEntitled, mayWait, env }: Endpoint, cases: number): Promise<void> {
  const { url, expectUnharmed, expectEmpty } = await target(env);
  const statuses = new Set<number>();

  function make(random: Random): Sent {
    const changes = chance(random, 0.1) ? 0 : 1 + below(random, 3);
    let made = draft(random);
    for (let i = 0; i < changes; i++) made = mutateDraft(random, made, (body) => mutateBody(random, body));
    return encode(random, made, changes);
  }

  async function run(sent: Sent, i: number): Promise<string | null> {
    const leave = sent.isFramed ? {} : { leaveAfter: () => handled(url) };
    const { answers, text } = await talk(url, sent.bytes, { from: addressOf(i), ...leave });
    for (const answer of answers) {
      statuses.add(answer.status);
      if (isWait(answer) && mayWait?.(sent.text) === true) continue;
      const flaw = flawOf(answer, sent.text.startsWith("HEAD "));
      if (flaw !== null) return flaw;
      if (sent.isValid && answer.status !== 200) return `a valid one: ${answer.status} ${answer.body}`;
      const isServed = answer.status === 200 && sent.path === path && !isEntitled(sent.text);
      if (isServed) return `served without a right to it: ${answer.body}`;
    }
    return sent.isFramed && answers.length === 0 ? `no answer, but ${JSON.stringify(text)}` : null;
  }

  const show = ({ bytes }: Sent) => JSON.stringify(Buffer.from(bytes).toString("latin1"));
  await fuzz({ cases, atOnce: 32, make, run, show, afterRound: expectUnharmed });
  // It has been everywhere, or it proves little.
  expect([...statuses]).toEqual(expect.arrayContaining([200, 400, 404, 405]));
  await expectEmpty();
}

function isWait({ status, headers, body }: Answer): boolean {
  return status === 503 && /^\d+$/.test(headers.get("retry-after") ?? "") && body.includes('"code":"unavailable"');
}

const users = ["stormy", user, "f:ldap:ünï", "x".repeat(128)];
const channels = ["storm", "msf", "a.b_c-d", "x".repeat(64)];
const several = (random: Random): string[] => times(1 + below(random, 5), (i) => `${pick(random, ["a", "b"])}${i}`);

const notifications: Endpoint = {
  path: "/notify",
  env: { AMPER_MAX_HELD: "10000000", AMPER_MAX_HELD_BYTES: String(2 ** 30) },
  isEntitled: (text) => text.includes(apiKey),
  draft(random) {
    const msg = pick<unknown>(random, [secret, 1, null, { [secret]: ["\u{1f600}", { a: [] }] }, "x".repeat(3000)]);
    const whom = pick<object>(random, [
      { keycloak: pick(random, users), ttl: 0 },
      // Held for somebody else each time: for one user there is room for so many.
      { keycloak: `held-${random()}`, ttl: pick(random, [1, 60]) },
      { keycloak: several(random) },
      { channel: pick(random, channels) },
      { channel: several(random), keycloak: pick(random, users) },
    ]);
    const [key, inBody] = pick<[Draft["headers"], object]>(random, [
      [[], { API_KEY: apiKey }],
      [[["X-API-Key", apiKey]], {}],
      [[["Authorization", `Bearer ${apiKey}`]], {}],
    ]);
    const type = pick<Draft["headers"]>(random, [
      [],
      [["Content-Type", "application/json"]],
      [["content-type", "application/json; charset=utf-8"]],
    ]);
    const once: Draft["headers"] = chance(random, 0.2) ? [["Idempotency-Key", `key-${random()}`]] : [];
    const body = JSON.stringify({ msg, ...whom, ...inBody });
    return { method: "POST", path: "/notify", query: "", headers: [...key, ...type, ...once], body };
  },
  mutateBody(random, body) {
    if (chance(random, 0.1)) return mutations.oddJson(random);
    const members = parseMembers(body);
    if (members === undefined) return mutateText(random, body);
    const text = objectOf(mutations.mutateMembers(random, members, ["API_KEY"]));
    return chance(random, 0.15) ? mutations.wrapJson(random, text) : text;
  },
};

function parseMembers(json: string): mutations.Members | undefined {
  try {
    return membersOf(Object(JSON.parse(json)));
  } catch {
    return undefined;
  }
}

/** A realm, and tokens of it: as Keycloak makes them, and as it never would. */
async function realmOf() {
  const realm = await startRealm({ now: Date.now });
  cleanups.push(realm.stop);
  const key = KeyObject.from(realm.key.privateKey);
  const publicKey = createPublicKey(key);
  const dsaEncoding = "ieee-p1363";
  const sign: Sign = (text) => base64url(signWith("sha256", Buffer.from(text), { key, dsaEncoding }));
  const now_seconds = Math.floor(Date.now() / 1000);
  // For as long as the longest form takes.
  const lasting = { iat: now_seconds, exp: now_seconds + 86_400 };
  const header = membersOf({ alg: realm.key.alg, typ: "JWT", kid: realm.key.kid });
  const access: JwtParts = { header, payload: membersOf({ ...claimsOf(realm.issuer, Date.now()), ...lasting }) };
  const events = { "http://schemas.openid.net/event/backchannel-logout": {} };
  /** Another one each time: a repeated one is not looked at for long. */
  const logoutOf = (random: Random): JwtParts => {
    const who = pick<object>(random, [{ sub: "somebody", sid: `session-${random()}` }, { sub: `user-${random()}` }]);
    const claims = { ...lasting, iss: realm.issuer, aud: "msf-web", jti: `logout-${random()}`, events };
    return { header, payload: membersOf({ ...claims, ...who }) };
  };
  const text = (parts: JwtParts) => jwtOf(objectOf(parts.header), objectOf(parts.payload), sign);
  const valid = { access: () => text(access), logout: (random: Random) => text(logoutOf(random)) };

  function odd(random: Random, which: "access" | "logout"): string {
    const [model, other] = which === "access" ? [access, logoutOf(random)] : [logoutOf(random), access];
    const dice = random();
    if (dice < 0.5) return oddSignedJwt(random, model, sign);
    return dice < 0.95 ? mutateJwt(random, text(model), text(other)) : text(other);
  }

  /** Of what it says, nothing: only that the realm has signed it. */
  function isSigned(token: string): boolean {
    const [head = "", payload = "", signature = ""] = token.split(".");
    const bytes = Buffer.from(signature, "base64url");
    return verifyWith("sha256", Buffer.from(`${head}.${payload}`), { key: publicKey, dsaEncoding }, bytes);
  }

  function namesUnknownKey(head: string): boolean {
    try {
      const { kid }: { kid?: unknown } = Object(JSON.parse(Buffer.from(head, "base64url").toString()));
      return typeof kid === "string" && kid !== realm.key.kid;
    } catch {
      return false;
    }
  }

  const hasSigned = (within: string) => (within.match(/[\w-]+\.[\w-]+\.[\w-]+/g) ?? []).some(isSigned);
  const hasUnknown = (within: string) => (within.match(/[\w-]+(?=\.[\w-]+\.[\w-]*)/g) ?? []).some(namesUnknownKey);
  return { env: { AMPER_KEYCLOAK_ISSUER: realm.issuer }, valid, odd, hasSigned, hasUnknown };
}

test("notifications, and what is none", () => storm(notifications, 2000));

test("authorizations, and what is none", async () => {
  const { env, valid, odd, hasSigned, hasUnknown } = await realmOf();
  await storm(
    {
      env,
      path: "/authorize",
      isEntitled: (text) => text.includes(wsToken) || hasSigned(text),
      mayWait: hasUnknown,
      draft(random) {
        // A bearer token is a line of its own: nothing in an odd one may end it.
        const token = chance(random, 0.4) ? odd(random, "access").replaceAll(/[\r\n\0]/g, "") : undefined;
        const bound = `keycloakID=${encodeURIComponent(pick(random, users))}`;
        return {
          method: "GET",
          path: "/authorize",
          query: pick(random, ["", bound]),
          headers: [["Authorization", `Bearer ${token ?? pick(random, [wsToken, valid.access()])}`]],
          body: "",
          ...(token !== undefined && { isOdd: true }),
        };
      },
      mutateBody: (random) => mutations.oddJson(random),
    },
    2000,
  );
});

test("back-channel logouts, and what is none", async () => {
  const { env, valid, odd, hasSigned, hasUnknown } = await realmOf();
  const formOf = (token: string) => `logout_token=${encodeURIComponent(token)}`;
  await storm(
    {
      env,
      path: "/backchannel-logout",
      isEntitled: (text) => hasSigned(decodeForm(text)),
      mayWait: (text) => hasUnknown(decodeForm(text)),
      draft: (random) => ({
        method: "POST",
        path: "/backchannel-logout",
        query: "",
        headers: [["Content-Type", "application/x-www-form-urlencoded"]],
        body: formOf(valid.logout(random)),
      }),
      mutateBody: (random, body) =>
        pick<() => string>(random, [
          ...times(8, () => () => formOf(odd(random, "logout").toWellFormed())),
          () => `${body}&${formOf(odd(random, "logout").toWellFormed())}`,
          () => `${body}&${pick(random, ["a=b", "=", "%", "logout_token", "logout_token[]=x", "\u0000=\u0000"])}`,
          () => body.replace("logout_token", () => mutateText(random, "logout_token")),
          () => body.replaceAll(".", () => pick(random, ["%2e", "%2E", "%", "%u002e", "+", "%252e"])),
          () => JSON.stringify({ logout_token: valid.logout(random) }),
          () => `logout_token=${"x".repeat(below(random, 100_000))}`,
          () => "a=1&".repeat(below(random, 20_000)),
          () => mutateText(random, body),
        ])(),
    },
    2000,
  );
});

/** Without white space, which does no harm in a signature, and is none of what was signed. */
function decodeForm(text: string): string {
  const bytes = text.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return bytes.replaceAll(/[\s+]/g, "");
}
