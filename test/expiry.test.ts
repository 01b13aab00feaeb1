import { afterEach, expect, test } from "bun:test";
import { connected, next, transports } from "./support/client.ts";
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
