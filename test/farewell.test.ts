import { afterEach, expect, mock, spyOn, test } from "bun:test";
import { farewell } from "../src/http/farewell.ts";

/** How long a stop waits for what is still open. */

let asked_ms = 0;
afterEach(() => mock.restore());

/** A clock that goes only while somebody sleeps. */
function stopTheClock(onSleep = (): void => {}): void {
  asked_ms = 0;
  spyOn(Bun, "sleep").mockImplementation(async (ms) => {
    asked_ms += Number(ms);
    onSleep();
  });
}

const never = new Promise<void>(() => {});

test("waits for answers and websockets that are still open, and no longer", async () => {
  const server = { pendingRequests: 2, pendingWebSockets: 30 };
  stopTheClock(() => {
    server.pendingRequests = Math.max(0, server.pendingRequests - 1);
    server.pendingWebSockets = Math.max(0, server.pendingWebSockets - 1);
  });
  await farewell(server, never);
  expect(server).toEqual({ pendingRequests: 0, pendingWebSockets: 0 });
  expect(asked_ms).toBe(30 * 10 + 100);
});

test("waits little for half a request, which a stranger may hold open for as long as they like", async () => {
  stopTheClock();
  await farewell({ pendingRequests: 0, pendingWebSockets: 0 }, never);
  expect(asked_ms).toBe(100);
});

test("waits no more than about a second for an answer that nobody reads", async () => {
  stopTheClock();
  await farewell({ pendingRequests: 1, pendingWebSockets: 0 }, never);
  expect(asked_ms).toBe(1100);
});
