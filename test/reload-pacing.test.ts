import { afterEach, describe, expect, test } from "bun:test";
import type { Log } from "../src/observe/log.ts";
import { authorize, connected, next, notify, page, transports, type Page } from "./support/client.ts";
import { metric, until } from "./support/raw.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { apiKey, authorizeWith, quietLog, settingsOf, start, wsToken } from "./support/service.ts";

/** A changed channel rule: its pages come back with new tokens, not all in one step, and get nothing until then. */

const open = "[channels.msf]\n[channels.b2b]\n";
const asking = open.replace("[channels.msf]", `[channels.msf]\nroles = ["dispatcher"]`);
const forNobody = open.replace("[channels.msf]", `[channels.msf]\nroles = ["nobody-has-it"]`);
/** The first is closed at once, the others not while a test lasts. */
const slow = { AMPER_DRAIN_SECONDS: "3600" };

let realm: Realm | undefined;
afterEach(async () => {
  await realm?.stop();
});

async function setUp(env: Record<string, string>, log: Log = quietLog) {
  const ours = (realm = await startRealm({ now: Date.now }));
  const all = { AMPER_KEYCLOAK_ISSUER: ours.issuer, AMPER_MAX_CONNECTIONS_PER_USER: "2000", ...env };
  const service = await start(all, { toml: open, log });
  const { url } = service;
  const mint = async () => authorizeWith(url, await ours.mint());
  const token = await mint();
  return {
    service,
    url,
    token,
    mint,
    reload: (toml: string) => service.reload(settingsOf(all, toml)),
    pages: (count: number, channel = "msf", transport: "polling" | "websocket" = "websocket") =>
      Promise.all(
        Array.from({ length: count }, () => connected(url, user, channel, { token, transports: [transport] })),
      ),
    closings: (code: string) => metric(url, `amper_closings_total{code="${code}"}`),
  };
}

function told(pages: readonly Page[]): unknown[] {
  const codes: unknown[] = [];
  for (const { socket } of pages) socket.on("closing", ({ code }: { code: unknown }) => void codes.push(code));
  return codes;
}

test("a thousand pages are closed over drain_seconds, and never more than their share in one step", async () => {
  const steps: number[] = [];
  let isSame = false;
  const info = (event: string) => {
    if (event !== "connection closing") return;
    if (!isSame) steps.push(0);
    steps.push((steps.pop() ?? 0) + 1);
    isSame = true;
    setImmediate(() => (isSame = false));
  };
  const { reload, pages } = await setUp({ AMPER_DRAIN_SECONDS: "1" }, { ...quietLog, info });
  const all = await pages(1000);
  const others = await pages(3, "b2b");
  const codes = told(all);
  expect(reload(asking)).toBe(1000);
  await until("all are told", () => codes.length === 1000);
  expect(new Set(codes)).toEqual(new Set(["token_expired"]));
  expect(steps).toHaveLength(10);
  expect(Math.max(...steps)).toBeLessThanOrEqual(101);
  for (const { socket } of others) expect(socket.connected).toBe(true);
});

describe("until it is its turn, a page", () => {
  test.each(["websocket", "polling"] as const)("gets nothing that it may have no right to, %s", async (transport) => {
    const { url, reload, pages } = await setUp(slow);
    const all = await pages(5, "msf", transport);
    const stays = await connected(url, user, "b2b", { token: (await authorize(url, "", wsToken)).token });
    expect(reload(forNobody)).toBe(5);
    expect(await notify(url, { msg: "secret", channel: "msf" })).toMatchObject({ connections: 0 });
    expect(await notify(url, { msg: "secret", keycloak: user, channel: "msf" })).toMatchObject({ offline: [user] });
    expect(await notify(url, { msg: "all", keycloak: user, channel: ["msf", "b2b"] })).toMatchObject({
      connections: 1,
    });
    expect(await stays.count(1)).toEqual(["all"]);
    for (const { received } of all) expect(received).toEqual([]);
    expect(all.filter(({ socket }) => socket.connected)).not.toEqual([]);
  });

  test("cannot come in anew with the token that it has", async () => {
    const { url, token, reload, pages } = await setUp(slow);
    await pages(3);
    reload(asking);
    const again = page(url, { token, keycloakID: user, channel: "msf" });
    expect(await next(again.socket, "connect_error")).toMatchObject({ data: { code: "token_expired" } });
  });

  test("is told at once where its user is ended", async () => {
    const { url, reload, pages, closings } = await setUp(slow);
    const all = await pages(4);
    reload(asking);
    await until("one was told", async () => (await closings("token_expired")) === 1);
    const codes = told(all);
    const response = await fetch(`${url}/connections/${user}`, {
      method: "DELETE",
      headers: { "X-API-Key": apiKey },
    });
    expect(await response.json()).toMatchObject({ disconnected: 3 });
    await until("the others are told", () => codes.filter((code) => code === "revoked").length === 3);
  });

  test("is told at once where a second reload takes its channel away; twice changed, it keeps its turn", async () => {
    const { reload, pages, closings } = await setUp(slow);
    const all = await pages(4);
    expect(reload(asking)).toBe(4);
    expect(reload(forNobody)).toBe(0);
    await until("one was told", async () => (await closings("token_expired")) === 1);
    const codes = told(all);
    expect(reload("[channels.b2b]\n")).toBe(3);
    await until("the others are told", () => codes.filter((code) => code === "revoked").length === 3);
  });

  test("is told at once where the service stops", async () => {
    const { service, reload, pages } = await setUp(slow);
    const all = await pages(4);
    const codes = told(all);
    reload(asking);
    expect(await service.stop()).toBe(true);
    await until("all are told", () => codes.length === 4);
    expect(codes.toSorted((a, b) => String(a).localeCompare(String(b)))).toEqual([
      "draining",
      "draining",
      "draining",
      "token_expired",
    ]);
  });
});

for (const [name, options] of Object.entries(transports)) {
  test(`pages that still may come back by themselves, and have missed nothing, ${name}`, async () => {
    const { url, mint, reload } = await setUp({ AMPER_DRAIN_SECONDS: "1" });
    const auth = (send: (auth: object) => void) =>
      void mint().then((token) => send({ token, keycloakID: user, channel: "msf" }));
    const all = Array.from({ length: 6 }, () => page(url, auth, options));
    await Promise.all(all.map(async ({ socket }) => next(socket, "connect")));
    // A stock client whose upgrade is cut in the middle finds out by its heartbeat only, after 45 s.
    const transport = name === "polling only" ? "polling" : "websocket";
    const connections = `amper_connections{transport="${transport}"}`;
    await until("all have upgraded", async () => (await metric(url, connections)) === 6);
    const back = all.map(async ({ socket }) => next(socket, "connect"));
    expect(reload(asking)).toBe(6);
    await notify(url, { msg: "in between", channel: "msf" });
    // Nobody has to come back for it: but nobody knows what they missed.
    expect(reload(open)).toBe(0);
    await notify(url, { msg: "and again", keycloak: user });
    await Promise.all(back);
    for (const { socket, count } of all) {
      expect(socket.recovered).toBe(true);
      expect(await count(2)).toEqual(["in between", "and again"]);
    }
  });
}

test("what was authorized through a WS token that is gone ends in one step", async () => {
  const front = `[ws_tokens]\nfront = { token = "${wsToken}" }\nother = { token = "other-token-0123456789" }\n`;
  const service = await start(slow, { toml: front });
  const { token } = await authorize(service.url, "", "other-token-0123456789");
  const all = await Promise.all(
    Array.from({ length: 5 }, () => connected(service.url, "alice", "msf", { token, transports: ["websocket"] })),
  );
  const codes = told(all);
  expect(service.reload(settingsOf(slow, front.replace(/^other.*$/m, "")))).toBe(5);
  await until("all are told", () => codes.length === 5);
  expect(new Set(codes)).toEqual(new Set(["revoked"]));
});
