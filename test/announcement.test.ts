import { expect, test } from "bun:test";
import { connected, notify, transports } from "./support/client.ts";
import { start } from "./support/service.ts";

for (const [name, options] of Object.entries(transports)) {
  test(`the head is announced at each fifth of the window's bytes, ${name}`, async () => {
    const { url } = await start({ AMPER_JOURNAL_WINDOW_BYTES: "50000" });
    const { socket } = await connected(url, "alice", "msf", options);
    const announced: unknown[] = [];
    const expected: string[] = [];
    const all = Promise.withResolvers<void>();
    socket.on("cursor", (cursor) => announced.push(cursor) === 3 && all.resolve());
    for (let i = 0; i < 3; i++) {
      // Two small ones are less than a fifth, and not worth an announcement.
      for (let j = 0; j < 2; j++) await notify(url, { msg: "small", channel: "b2b" });
      expected.push((await notify(url, { msg: "x".repeat(10_000), channel: "b2b" })).id);
    }
    await all.promise;
    expect(announced).toEqual(expected);
  });
}
