import { expect, test } from "bun:test";
import { connected, next, notify } from "./support/client.ts";
import { start } from "./support/service.ts";

/**
 * The stock client hands out what it has received one tick after it has read it. An engine that closes between the two keeps
 * its offset, so that the rest of the batch is replayed, and the client emits the rest from its own buffer as well. In a page
 * only the page itself can be that quick.
 */
test("a page that ends its connection within a batch gets the rest twice, with the same cursors", async () => {
  const { url } = await start();
  const { socket, received, cursors, count } = await connected(url, "alice", "msf", { transports: ["polling"] });
  socket.io.reconnection(false);
  socket.io.engine.close();
  for (const msg of [1, 2, 3]) await notify(url, { msg, keycloak: "alice" });
  socket.io.reconnection(true);
  // All three come in the answer to one poll.
  socket.once("notification", () => void socket.io.engine.close());
  socket.connect();
  await next(socket, "disconnect");
  await next(socket, "connect");
  expect(socket.recovered).toBe(true);
  await notify(url, { msg: 4, keycloak: "alice" });
  expect(await count(6)).toEqual([1, 2, 3, 2, 3, 4]);

  // What the README tells pages to do.
  const seen = new Set();
  const shown = received.filter((_, i) => !seen.has(cursors[i]) && seen.add(cursors[i]));
  expect(shown).toEqual([1, 2, 3, 4]);
});
