import { describe, expect, test } from "bun:test";
import { authorize, connected, next, notify, page, transports, type Page } from "./support/client.ts";
import { start } from "./support/service.ts";

for (const [name, options] of Object.entries(transports)) {
  describe(`the plain flow, ${name}`, () => {
    test("authorize, connect, be notified in all three ways, get exactly the value that was sent", async () => {
      const { url } = await start();
      const { token } = await authorize(url);
      const { socket, count } = page(url, { token, keycloakID: "alice", channel: "msf" }, options);
      await next(socket, "connect");
      const messages = [
        "text",
        { nested: [1, null, "\u2028 \ud83d\ude00 \u001e"], __proto__: null },
        0,
        false,
        null,
        [],
        "",
      ];
      for (const msg of messages) {
        expect(await notify(url, { msg, channel: "msf" })).toMatchObject({ connections: 1, offline: [], held: false });
        expect(await notify(url, { msg, keycloak: "alice" })).toMatchObject({ connections: 1, offline: [] });
        expect(await notify(url, { msg, keycloak: "alice", channel: "msf" })).toMatchObject({ connections: 1 });
      }
      expect(await count(messages.length * 3)).toEqual(messages.flatMap((msg) => [msg, msg, msg]));
    });

    test("a page that gets no token sends none, as the README has it, and is in by itself as soon as it gets one", async () => {
      const { url } = await start({ AMPER_CONNECT_TIMEOUT_MS: "100" });
      let failures = 0;
      const auth = (send: (auth: object) => void) => {
        if (++failures <= 3) return;
        void authorize(url).then(({ token }) => send({ token, keycloakID: "alice", channel: "msf" }));
      };
      const { socket, count } = page(url, auth, options);
      const refused: unknown[] = [];
      socket.on("connect_error", (error) => refused.push(error));
      await next(socket, "connect");
      await notify(url, { msg: "welcome", keycloak: "alice" });
      expect([refused, await count(1)]).toEqual([[], ["welcome"]]);
    });

    test("auth as a function is asked at each connect", async () => {
      const { url } = await start();
      let asked = 0;
      const { socket } = page(
        url,
        (send) => {
          asked++;
          void authorize(url).then(({ token }) => send({ token, keycloakID: "alice", channel: "msf" }));
        },
        options,
      );
      await next(socket, "connect");
      socket.io.engine.close();
      await next(socket, "connect");
      expect(asked).toBe(2);
    });

    test("a notification carries its cursor as second argument, the id of the receipt", async () => {
      const { url } = await start();
      const { count, cursors } = await connected(url, "alice", "msf", options);
      const receipts = [
        await notify(url, { msg: 1, channel: "msf" }),
        await notify(url, { msg: 2, keycloak: "alice" }),
      ];
      await count(2);
      expect(cursors).toEqual(receipts.map(({ id }) => id));
    });
  });
}

describe("who gets what", () => {
  const users = ["alice", "bob"];
  const channels = ["msf", "b2b"];
  const cases: [body: { keycloak?: string | string[]; channel?: string | string[] }, offline?: string[]][] = [
    [{ channel: "msf" }],
    [{ channel: "b2b" }],
    [{ channel: ["msf", "b2b"] }],
    [{ channel: ["msf", "msf"] }],
    [{ channel: "admin" }],
    [{ keycloak: "alice" }],
    [{ keycloak: ["alice", "bob"] }],
    [{ keycloak: ["bob", "bob"] }],
    [{ keycloak: "carol" }, ["carol"]],
    [{ keycloak: ["alice", "carol"] }, ["carol"]],
    [{ keycloak: "alice", channel: "msf" }],
    [{ keycloak: ["alice", "bob"], channel: "b2b" }],
    [{ keycloak: "alice", channel: ["msf", "b2b"] }],
    [{ keycloak: ["alice", "bob"], channel: ["msf", "b2b"] }],
    [{ keycloak: ["alice", "carol"], channel: "admin" }, ["alice", "carol"]],
  ];
  const list = (value: string | string[] | undefined) => (value === undefined ? undefined : [value].flat());

  for (const [name, options] of Object.entries(transports)) {
    test(`two users, two channels, two tabs each, ${name}`, async () => {
      const { url } = await start();
      const pages: (Page & { user: string; channel: string; expected: unknown[] })[] = [];
      for (const user of users) {
        for (const channel of channels) {
          for (let tab = 1; tab <= 2; tab++) {
            pages.push({ ...(await connected(url, user, channel, options)), user, channel, expected: [] });
          }
        }
      }
      for (const [body, offline = []] of cases) {
        const msg = JSON.stringify(body);
        const hit = pages.filter(
          (p) => (list(body.keycloak)?.includes(p.user) ?? true) && (list(body.channel)?.includes(p.channel) ?? true),
        );
        for (const p of hit) p.expected.push(msg);
        expect(await notify(url, { msg, ...body })).toMatchObject({ connections: hit.length, offline, held: false });
      }
      // The last one for everybody: when it has come, nothing that should not have come is still on its way.
      await notify(url, { msg: "end", channel: channels });
      await Promise.all(pages.map((p) => p.count(p.expected.length + 1)));
      for (const p of pages) expect(p.received).toEqual([...p.expected, "end"]);
    });
  }
});
