import { afterEach, expect, test } from "bun:test";
import { authorize, connected, next, notify, transports } from "./support/client.ts";
import { metric, rawPolling, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

const month_seconds = 30 * 86_400;

const warnings: Error[] = [];
const onWarning = (warning: Error) => void warnings.push(warning);
afterEach(() => {
  process.off("warning", onWarning);
  warnings.length = 0;
});

for (const [name, options] of Object.entries(transports)) {
  // A timer takes 31 bits of milliseconds, 24.8 days. One for longer fires at once, with a warning, and would do it for ever.
  test(`a token for longer than 31 bits of ms sets timers that fit, ${name}`, async () => {
    process.on("warning", onWarning);
    const { url } = await start({
      AMPER_TOKEN_TTL_SECONDS: `${month_seconds}`,
      AMPER_PING_INTERVAL_MS: "100",
    });
    const { socket } = await connected(url, "alice", "msf", options);
    const ends: unknown[] = [];
    for (const event of ["closing", "disconnect"]) socket.on(event, (reason) => ends.push(reason));
    // A heartbeat comes from a timer, too. It is set for longer than the moment in which a timer that overflows fires.
    const beaten = Promise.withResolvers<void>();
    socket.io.once("ping", () => beaten.resolve());
    await Promise.race([beaten.promise, next(socket, "disconnect")]);
    expect({ ends, warnings }).toEqual({ ends: [], warnings: [] });
  });
}

const expired = (url: string) => metric(url, 'amper_closings_total{code="token_expired"}');

/** A service whose tokens last for one second of a clock that stands still until it is moved. */
async function setUp() {
  let now_ms = Date.now();
  const { url } = await start({ AMPER_TOKEN_TTL_SECONDS: "1" }, { now: () => now_ms });
  return { url, move: (by_ms: number) => (now_ms += by_ms) };
}

for (const [name, options] of Object.entries(transports)) {
  test(`a connection that has ended does not expire any more, ${name}`, async () => {
    const { url, move } = await setUp();
    const alice = await connected(url, "alice", "msf", options);
    alice.socket.disconnect();
    await until("alice is gone", async () => (await metric(url, "amper_users")) === 0);
    // By the time that the second one expires, a timer of alice would have fired, too.
    for (const user of ["bob", "carol"]) {
      const { socket } = await connected(url, user, "msf", options);
      socket.io.reconnection(false);
      const closing = next(socket, "closing");
      move(1000);
      expect(await closing).toEqual({ code: "token_expired", reconnect: true });
    }
    expect(await expired(url)).toBe(2);
  });
}

test("a polling client that has expired is not counted while it fetches the reason", async () => {
  const { url, move } = await setUp();
  const { token } = await authorize(url);
  const polling = await rawPolling(url);
  await polling.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
  expect(await polling.next()).toStartWith("40");
  move(1000);
  await until("it has expired", async () => (await expired(url)) === 1);
  expect(await notify(url, { msg: 1, keycloak: "alice" })).toMatchObject({ connections: 0, offline: ["alice"] });
  expect(await polling.ended()).toEqual(['42["closing",{"code":"token_expired","reconnect":true}]']);
});
