import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { authorize, connected, next, notify, transports } from "./support/client.ts";
import { metric, raws, until, type Raw } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** What is held for a user, when a client comes back of which it is not known whether it has it. */

/** No heartbeat during a test: only the offset of a client that comes back confirms anything. */
const silent = { AMPER_PING_INTERVAL_MS: "120000" };

const Connected = v.object({ pid: v.string() });

/** Sends the CONNECT, and resolves with the `pid` of its answer. */
async function connect(raw: Raw, auth: object): Promise<string> {
  await raw.send(`40${JSON.stringify(auth)}`);
  return v.parse(Connected, JSON.parse((await raw.next()).slice(2))).pid;
}

const Event = v.tuple([v.literal("notification"), v.unknown(), v.string()]);

/** All messages of a connection, up to a last one that is sent to its user. */
async function messages(url: string, raw: Raw, user: string): Promise<unknown[]> {
  const { id } = await notify(url, { msg: "the end", keycloak: user });
  const received: unknown[] = [];
  for (;;) {
    const [, msg, cursor] = v.parse(Event, JSON.parse((await raw.next()).slice(2)));
    if (cursor === id) return received;
    received.push(msg);
  }
}

async function authOf(url: string) {
  return { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" };
}

for (const [name, open] of Object.entries(raws)) {
  describe(`what is held for a client that was cut after its CONNECT, ${name}`, () => {
    test("comes again if the client names no offset", async () => {
      const { url } = await start(silent);
      const auth = await authOf(url);
      await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
      const pid = await connect(await open(url), auth);
      const back = await open(url);
      expect(await connect(back, { ...auth, pid })).toBe(pid);
      expect(await messages(url, back, "alice")).toEqual(["held"]);
    });

    test("comes from the client's offset on, although its pid is newer", async () => {
      const { url } = await start(silent);
      const auth = await authOf(url);
      const { id: offset } = await notify(url, { msg: "received", keycloak: "alice", ttl: 60 });
      await notify(url, { msg: "lost", keycloak: "alice", ttl: 60 });
      const pid = await connect(await open(url), auth);
      const back = await open(url);
      expect(await connect(back, { ...auth, pid, offset })).toBe(pid);
      expect(await messages(url, back, "alice")).toEqual(["lost"]);
    });

    test("brings nothing along that was sent before the first connect", async () => {
      const { url } = await start(silent);
      const auth = await authOf(url);
      const { id: offset } = await notify(url, { msg: "received", keycloak: "alice", ttl: 60 });
      await notify(url, { msg: "for those who were there", channel: "msf" });
      const pid = await connect(await open(url), auth);
      const back = await open(url);
      expect(await connect(back, { ...auth, pid, offset })).toBe(pid);
      expect(await messages(url, back, "alice")).toEqual([]);
    });

    test("comes before what was missed, in the order of the journal", async () => {
      const { url } = await start(silent);
      const auth = await authOf(url);
      await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
      const pid = await connect(await open(url), auth);
      await notify(url, { msg: "missed", keycloak: "alice" });
      await notify(url, { msg: "missed, and held", keycloak: "alice", ttl: 60 });
      const back = await open(url);
      expect(await connect(back, { ...auth, pid })).toBe(pid);
      expect(await messages(url, back, "alice")).toEqual(["held", "missed", "missed, and held"]);
    });
  });
}

for (const [name, options] of Object.entries(transports)) {
  describe(`what a client had before its place was gone, ${name}`, () => {
    test("is not held any more, although the window has passed its offset", async () => {
      let now_ms = Date.now();
      const { url } = await start({ ...silent, AMPER_JOURNAL_WINDOW_SECONDS: "10" }, { now: () => now_ms });
      const alice = await connected(url, "alice", "msf", options);
      await notify(url, { msg: "held", keycloak: "alice", ttl: 3600 });
      await alice.count(1);
      alice.socket.disconnect();
      await notify(url, { msg: "missed", channel: "msf" });
      now_ms += 60_000;
      await until("the window is empty", async () => (await metric(url, "amper_window_entries")) === 0);
      const back = next(alice.socket, "connect");
      alice.socket.connect();
      await back;
      expect(await metric(url, 'amper_connections_not_recovered_total{cause="trimmed"}')).toBe(1);
      expect(await metric(url, "amper_held")).toBe(0);
      await notify(url, { msg: "the end", keycloak: "alice" });
      await until("the end", () => alice.received.includes("the end"));
      expect(alice.received).toEqual(["held", "the end"]);
    });

    test("is not held any more, although too much has come since", async () => {
      const { url } = await start({ ...silent, AMPER_BACKLOG_BYTES: "8000" });
      const alice = await connected(url, "alice", "msf", options);
      await notify(url, { msg: "held", keycloak: "alice", ttl: 60 });
      await alice.count(1);
      alice.socket.disconnect();
      await until("nobody is connected", async () => (await metric(url, "amper_users")) === 0);
      for (let i = 0; i < 5; i++) await notify(url, { msg: "x".repeat(1000), channel: "msf" });
      const back = next(alice.socket, "connect");
      alice.socket.connect();
      await back;
      expect(await metric(url, 'amper_connections_not_recovered_total{cause="too_much"}')).toBe(1);
      expect(await metric(url, "amper_held")).toBe(0);
      await notify(url, { msg: "the end", keycloak: "alice" });
      await until("the end", () => alice.received.includes("the end"));
      expect(alice.received).toEqual(["held", "the end"]);
    });
  });
}
