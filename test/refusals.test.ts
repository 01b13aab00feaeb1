import { describe, expect, test } from "bun:test";
import { createTokens } from "../src/authorize/tokens.ts";
import { plainClock } from "./support/clocks.ts";
import { authorize, connected, next, notify, page, transports, type Options } from "./support/client.ts";
import { apiKey, start } from "./support/service.ts";
import * as v from "valibot";

const secret = "0123456789abcdef0123456789abcdef";
const Refused = v.object({ message: v.pipe(v.string(), v.minLength(10)), data: v.object({ code: v.string() }) });

/** Connects, expects to be refused for good, and returns the code. */
async function refused(url: string, auth: object, options: Options = {}): Promise<string> {
  const { socket } = page(url, auth, options);
  const error = v.parse(Refused, await next(socket, "connect_error"));
  // What makes it "for good": a stock client does not try again.
  expect(socket.active).toBe(false);
  return error.data.code;
}

for (const [name, options] of Object.entries(transports)) {
  describe(`refused for good, ${name}`, () => {
    test("every code, in the order in which the fields are judged", async () => {
      const { url } = await start(
        { AMPER_TOKEN_SECRET: secret, AMPER_MAX_CONNECTIONS_PER_USER: "1", AMPER_MAX_CLIENT_BYTES: "64 KiB" },
        {
          toml: "[channels.msf]\n[channels.b2b]\n[ws_tokens.front]\ntoken = 'only-msf-0123456789'\nchannels = ['msf']",
        },
      );
      const { token } = await authorize(url, "?keycloakID=alice", "only-msf-0123456789");
      const expired = createTokens({ secrets: [secret], ttl_seconds: -1, clock: plainClock(Date.now) });
      const good = { token, keycloakID: "alice", channel: "msf" };
      const cases: [auth: object, code: string][] = [
        [{}, "token_missing"],
        [{ ...good, token: null }, "token_missing"],
        [{ ...good, token: "" }, "token_missing"],
        [{ ...good, token: 1 }, "token_invalid"],
        [{ ...good, token: "nonsense" }, "token_invalid"],
        [{ ...good, token: `${token}x` }, "token_invalid"],
        [{ ...good, token: "x".repeat(50_000) }, "token_invalid"],
        [
          { ...good, token: expired.issue({ user: null, channels: "*", rules: [], session: null, via: null }).token },
          "token_expired",
        ],
        [{ token, channel: "msf" }, "keycloak_missing"],
        [{ ...good, keycloakID: "bob" }, "keycloak_mismatch"],
        [{ ...good, keycloakID: ["alice"] }, "keycloak_mismatch"],
        [{ token, keycloakID: "alice" }, "channel_missing"],
        [{ ...good, channel: "a b" }, "channel_invalid"],
        [{ ...good, channel: "x".repeat(65) }, "channel_invalid"],
        [{ ...good, channel: { toString: "msf" } }, "channel_invalid"],
        [{ ...good, channel: "b2b" }, "channel_forbidden"],
        [{ ...good, channel: "unknown" }, "channel_forbidden"],
      ];
      for (const [auth, code] of cases) expect([auth, await refused(url, auth, options)]).toEqual([auth, code]);
      await connected(url, "alice", "msf", { ...options, token });
      expect(await refused(url, good, options)).toBe("too_many_connections");
    });

    test("a revoked token stays revoked, a later one is good", async () => {
      const { url } = await start();
      const { token } = await authorize(url);
      const { socket } = await connected(url, "alice", "msf", { ...options, token });
      const closing = next(socket, "closing");
      const disconnect = next(socket, "disconnect");
      const response = await fetch(`${url}/connections/alice`, { method: "DELETE", headers: { "X-API-Key": apiKey } });
      expect(await response.json()).toEqual({ keycloakID: "alice", disconnected: 1 });
      expect(await closing).toEqual({ code: "revoked", reconnect: false });
      expect(await disconnect).toBe("io server disconnect");
      expect(socket.active).toBe(false);
      expect(await refused(url, { token, keycloakID: "alice", channel: "msf" }, options)).toBe("revoked");
      await connected(url, "bob", "msf", { ...options, token });
      await connected(url, "alice", "msf", { ...options, token: (await authorize(url)).token });
    });
  });

  describe(`refused for now, ${name}`, () => {
    test("a client over max_connections comes back by itself as soon as there is room", async () => {
      const { url } = await start({ AMPER_MAX_CONNECTIONS: "1" });
      const first = await connected(url, "alice", "msf", options);
      const { token } = await authorize(url);
      const { socket, count } = page(url, { token, keycloakID: "bob", channel: "msf" }, options);
      await next(socket, "connect_error");
      expect(socket.active).toBe(true);
      first.socket.disconnect();
      await next(socket, "connect");
      await notify(url, { msg: "welcome", keycloak: "bob" });
      expect(await count(1)).toEqual(["welcome"]);
    });

    test("at its token's expiry a connection is told, closed, and back with a fresh token", async () => {
      const { url } = await start({ AMPER_TOKEN_TTL_SECONDS: "2" });
      const { socket } = page(
        url,
        (send) => void authorize(url).then(({ token }) => send({ token, keycloakID: "alice", channel: "msf" })),
        options,
      );
      await next(socket, "connect");
      expect(await next(socket, "closing")).toEqual({ code: "token_expired", reconnect: true });
      await next(socket, "connect");
    });

    test("draining: the client is told, and comes back by itself to the successor", async () => {
      const first = await start({ AMPER_TOKEN_SECRET: secret });
      const { port } = new URL(first.url);
      const { token } = await authorize(first.url);
      const { socket, count } = page(first.url, { token, keycloakID: "alice", channel: "msf" }, options);
      await next(socket, "connect");
      const closing = next(socket, "closing");
      await first.stop();
      expect(await closing).toEqual({ code: "draining", reconnect: true });
      const back = next(socket, "connect");
      const successor = await start({ AMPER_TOKEN_SECRET: secret, AMPER_PORT: port });
      await back;
      await notify(successor.url, { msg: "here", keycloak: "alice" });
      expect(await count(1)).toEqual(["here"]);
    });
  });
}
