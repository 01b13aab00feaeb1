import { afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, spawn } from "./support/binary.ts";
import { authorize, connected, next, page, post } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { expectProblem } from "./support/problem.ts";
import { startRealm, user, type Realm } from "./support/realm.ts";
import { authorizeWith } from "./support/service.ts";

const keys = { orders: "orders-key-0123456789", billing: "billing-key-0123456789" };
const tokens = { front: "front-token-0123456789", other: "other-token-0123456789" };

const both = `
[api_keys.orders]
key = "${keys.orders}"
[api_keys.billing]
key = "${keys.billing}"
[ws_tokens.front]
token = "${tokens.front}"
[ws_tokens.other]
token = "${tokens.other}"
`;

/** A running executable with a settings file that can be changed. */
async function setUp(toml: string, env: Record<string, string> = {}) {
  const path = join(folder(), "amper.toml");
  writeFileSync(path, toml);
  // Empty ones count as not set: keys and tokens are in the file.
  const run = await launch({ args: ["--config", path], env: { AMPER_API_KEYS: "", AMPER_WS_TOKENS: "", ...env } });
  /** Writes the file, and waits until the service has said what became of it. */
  async function reload(changed: string, said = /"settings reloaded"/): Promise<string> {
    writeFileSync(path, changed);
    const before = run.lines.filter((line) => said.test(line)).length;
    run.kill("SIGHUP");
    for (let line = await run.said(said); ; line = await run.next()) {
      if (run.lines.filter((one) => said.test(one)).length > before)
        return run.lines.findLast((one) => said.test(one)) ?? line;
    }
  }
  return { ...run, reload };
}

const notifyWith = (url: string, key: string) => post(url, { API_KEY: key, msg: "hello", channel: "msf" });

describe("SIGHUP", () => {
  test("a removed API key is dead at once, an added one good, the others stay, and so do all connections", async () => {
    const { url, reload } = await setUp(both);
    const alice = await connected(url, "alice", "msf", { token: (await authorize(url, "", tokens.front)).token });
    expect((await notifyWith(url, keys.billing)).status).toBe(200);
    await reload(both.replace(keys.billing, "added-key-0123456789"));
    await expectProblem(await notifyWith(url, keys.billing), "api_key_invalid");
    expect((await notifyWith(url, "added-key-0123456789")).status).toBe(200);
    expect((await notifyWith(url, keys.orders)).status).toBe(200);
    expect(await alice.count(3)).toHaveLength(3);
    expect(alice.socket.connected).toBe(true);
  });

  test("a removed WS token's sessions end, bound or not, and those of others stay", async () => {
    const { url, reload } = await setUp(both);
    const unbound = (await authorize(url, "", tokens.other)).token;
    const bound = (await authorize(url, "?keycloakID=bob", tokens.other)).token;
    const ended = [
      await connected(url, "alice", "msf", { token: unbound }),
      await connected(url, "bob", "b2b", { token: bound }),
    ];
    const stays = await connected(url, "alice", "msf", { token: (await authorize(url, "", tokens.front)).token });
    const closings = ended.map(async ({ socket }) => next(socket, "closing"));
    const line = await reload(both.replace(/\[ws_tokens.other\]\n.*\n/, ""));
    expect(line).toContain('"connections":2');
    expect(await Promise.all(closings)).toEqual(ended.map(() => ({ code: "revoked", reconnect: false })));
    const again = page(url, { token: unbound, keycloakID: "alice", channel: "msf" });
    expect(await next(again.socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
    const answer = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${tokens.other}` } });
    await expectProblem(answer, "token_invalid");
    await notifyWith(url, keys.orders);
    expect(await stays.count(1)).toEqual(["hello"]);
  });

  test("a WS token that lost a channel ends its sessions there, and only there", async () => {
    const { url, reload } = await setUp(both);
    const { token } = await authorize(url, "", tokens.front);
    const [onMsf, onB2b] = [
      await connected(url, "alice", "msf", { token }),
      await connected(url, "alice", "b2b", { token }),
    ];
    const closing = next(onB2b.socket, "closing");
    await reload(both.replace(`token = "${tokens.front}"`, `$&\nchannels = ["msf"]`));
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
    const again = page(url, { token, keycloakID: "alice", channel: "b2b" });
    expect(await next(again.socket, "connect_error")).toMatchObject({ data: { code: "channel_forbidden" } });
    expect(onMsf.socket.connected).toBe(true);
  });

  describe("channel rules", () => {
    let realm: Realm | undefined;
    afterEach(async () => {
      await realm?.stop();
    });

    async function withRealm(rules: string) {
      const started = (realm = await startRealm({ now: Date.now }));
      const service = await setUp(both + rules, { AMPER_KEYCLOAK_ISSUER: started.issuer });
      const open = async (channel: string) => {
        const token = await authorizeWith(service.url, await started.mint());
        // A stock client whose upgrade is cut in the middle finds out by its heartbeat only, after 45 s.
        return { token, ...(await connected(service.url, user, channel, { token, transports: ["websocket"] })) };
      };
      return { ...service, realm: started, open };
    }

    test("that have changed count at once: a new token tells who may stay; a channel that is gone is gone", async () => {
      const { url, realm: ours, reload, open } = await withRealm("[channels.msf]\n[channels.b2b]\n[channels.open]\n");
      const [msf, b2b, other] = [await open("msf"), await open("b2b"), await open("open")];
      const closings = [next(msf.socket, "closing"), next(b2b.socket, "closing")];
      const back = next(msf.socket, "connect_error");
      await reload(`${both}[channels.msf]\nroles = ["nobody-has-it"]\n[channels.open]\n[channels.admin]\n`);
      expect(await Promise.all(closings)).toEqual([
        { code: "token_expired", reconnect: true },
        { code: "revoked", reconnect: false },
      ]);
      // It came back by itself, with the token that it had.
      expect(await back).toMatchObject({ data: { code: "token_expired" } });
      expect(other.socket.connected).toBe(true);
      const after = await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${await ours.mint()}` } });
      expect(await after.json()).toMatchObject({ channels: ["open", "admin"] });
    });

    test("let who fulfils them come back with a new token, and miss nothing", async () => {
      const { url, realm: ours, reload } = await withRealm("[channels.msf]\n");
      const auth = (send: (auth: object) => void) =>
        void ours
          .mint()
          .then((access) => authorizeWith(url, access))
          .then((token) => send({ token, keycloakID: user, channel: "msf" }));
      const { socket, count } = page(url, auth);
      await next(socket, "connect");
      const back = next(socket, "connect");
      await reload(`${both}[channels.msf]\nroles = ["dispatcher"]\n`);
      await notifyWith(url, keys.orders);
      await back;
      expect(socket.recovered).toBe(true);
      expect(await count(1)).toEqual(["hello"]);
    });

    test("that came after a token was issued count for it: one from a time without any opens no channel that asks", async () => {
      const { url, reload, open } = await withRealm("");
      const { token, socket } = await open("admin");
      const closing = next(socket, "closing");
      await reload(`${both}[channels.admin]\nroles = ["boss"]\n[channels.msf]\n`);
      expect(await closing).toEqual({ code: "token_expired", reconnect: true });
      const again = page(url, { token, keycloakID: user, channel: "admin" });
      expect(await next(again.socket, "connect_error")).toMatchObject({ data: { code: "token_expired" } });
      await connected(url, user, "msf", { token });
    });
  });

  test("with a mistake in the file everything stays as it is, and the log says what is wrong", async () => {
    const { url, reload } = await setUp(both);
    const line = await reload(
      `prot = 1\n${both.replace("[api_keys.billing]", "[api_keys.billing]\nadmim = true")}`,
      /"settings not reloaded"/,
    );
    expect(line).toContain("did you mean");
    expect((await notifyWith(url, keys.billing)).status).toBe(200);
  });

  test("what needs a restart is named, and all else is taken on", async () => {
    const { url, reload, said } = await setUp(both);
    await reload(`max_connections = 5\nlog_level = "warn"\n${both.replace(keys.billing, "added-key-0123456789")}`);
    expect(await said(/"settings that need a restart have changed"/)).toContain(
      '"settings":"max_connections log_level"',
    );
    expect((await notifyWith(url, "added-key-0123456789")).status).toBe(200);
  });

  test("a file that is cut or empty changes nothing: it would end or open everything", async () => {
    const rules = "[channels.msf]\n";
    const { url, reload } = await setUp(both + rules);
    const { token } = await authorize(url, "", tokens.front);
    const alice = await connected(url, "alice", "msf", { token });
    for (const cut of ["", "port = 0\n", both.slice(0, both.indexOf("[ws_tokens")), both]) {
      await reload(cut, /"settings not reloaded"/);
    }
    expect((await notifyWith(url, keys.orders)).status).toBe(200);
    expect(await alice.count(1)).toEqual(["hello"]);
    await expectProblem(await post(url, { API_KEY: keys.orders, msg: 1, channel: "b2b" }), "channel_forbidden");
  });

  test("channels that a reload has brought cannot be lost by the next one", async () => {
    const { url, reload } = await setUp(both);
    await reload(`${both}[channels.msf]\n`);
    expect(await reload(both, /"settings not reloaded"/)).toContain("channels");
    await expectProblem(await post(url, { API_KEY: keys.orders, msg: 1, channel: "b2b" }), "channel_forbidden");
  });

  test("realms cannot be changed: a file that lost them would throw out all of their users", async () => {
    const keycloak = `[keycloak]\nissuer = "http://127.0.0.1:9/realms/amper"\n`;
    const { url, reload } = await setUp(both + keycloak);
    expect(await reload(both, /"settings not reloaded"/)).toContain("realms");
    await reload(
      both.replace(keys.billing, "added-key-0123456789") + keycloak.replace("amper", "other"),
      /"settings not reloaded"/,
    );
    expect((await notifyWith(url, keys.billing)).status).toBe(200);
  });

  test("a channel that is gone ends connections through a WS token for all channels, too", async () => {
    const { url, reload } = await setUp(`${both}[channels.msf]\n[channels.b2b]\n`);
    const { token } = await authorize(url, "", tokens.front);
    const stays = await connected(url, "alice", "msf", { token });
    const { socket } = await connected(url, "alice", "b2b", { token });
    const closing = next(socket, "closing");
    await reload(`${both}[channels.msf]\n`);
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
    expect(stays.socket.connected).toBe(true);
  });

  test("require_bound_tokens ends what is unbound, live and issued, of all or of one WS token, and nothing else", async () => {
    for (const [name, change] of [
      ["all", (toml: string) => `require_bound_tokens = true\n${toml}`],
      ["one", (toml: string) => toml.replace(tokens.front, `${tokens.front}"\nrequire_bound_tokens = "true`)],
    ] as const) {
      const { url, reload } = await setUp(both);
      const unbound = (await authorize(url, "", tokens.front)).token;
      const bound = (await authorize(url, "?keycloakID=bob", tokens.front)).token;
      const alice = await connected(url, "alice", "msf", { token: unbound });
      const bob = await connected(url, "bob", "msf", { token: bound });
      const closing = next(alice.socket, "closing");
      expect([name, await reload(change(both))]).toEqual([name, expect.stringContaining('"connections":1')]);
      expect(await closing).toEqual({ code: "revoked", reconnect: false });
      const again = page(url, { token: unbound, keycloakID: "alice", channel: "msf" });
      expect(await next(again.socket, "connect_error")).toMatchObject({ data: { code: "revoked" } });
      expect(bob.socket.connected).toBe(true);
    }
  });

  test.each([
    ["in the past", -1000],
    ["soon", 1000],
  ])("a WS token that is given an end %s ends then what was issued through it", async (_, in_ms) => {
    const { url, reload } = await setUp(both);
    const { socket } = await connected(url, "alice", "msf", { token: (await authorize(url, "", tokens.front)).token });
    const closing = next(socket, "closing");
    const end = new Date(Date.now() + in_ms).toISOString();
    await reload(both.replace(tokens.front, `${tokens.front}"\nexpires_at = "${end}`));
    expect(await closing).toEqual({ code: "revoked", reconnect: false });
  });

  test("does not end a process that still waits for the journal, and counts as soon as that has it", async () => {
    const path = join(folder(), "amper.toml");
    writeFileSync(path, both);
    const env = { AMPER_API_KEYS: "", AMPER_WS_TOKENS: "", AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
    const first = await launch({ args: ["--config", path], env });
    const second = await spawn({ args: ["--config", path], env });
    await second.said(/"waiting for the journal"/);
    second.kill("SIGHUP");
    first.kill("SIGTERM");
    await second.said(/"listening"/);
    await second.said(/"settings reloaded"/);
    expect(await first.exited).toBe(0);
  });
});
