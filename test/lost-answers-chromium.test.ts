import { expect, test } from "bun:test";
import { describeChromium, openPage } from "./support/chromium.ts";
import { authorize, notify } from "./support/client.ts";
import { losingProxy } from "./support/losing-proxy.ts";
import { metric } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** The page of the README, with what happens to it in lists. */
const pageOf = (url: string, auth: object, options: object) => `<!doctype html>
  <script src="${url}/socket.io/socket.io.min.js"></script>
  <script>
    var received = [], connects = [];
    const socket = io("${url}", ${JSON.stringify({ auth, reconnectionDelay: 20, ...options })});
    socket.on("connect", () => connects.push(socket.recovered));
    socket.on("notification", (msg) => received.push(msg));
  </script>`;

const transports = { "default transports": {}, "polling only": { transports: ["polling"] } };

describeChromium("an answer that is lost on its way to Chromium", () => {
  for (const [name, options] of Object.entries(transports)) {
    for (const ttl of [0, 60]) {
      test(`is given back in order, ${name}, ttl ${ttl}`, async () => {
        const { url } = await start({ AMPER_PING_INTERVAL_MS: "200" });
        const proxy = await losingProxy(url);
        proxy.holdWebSockets();
        const auth = { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" };
        const page = await openPage(pageOf(proxy.url, auth, options));
        const send = (msg: string) => notify(url, { msg, keycloak: "alice", ttl });
        await page.waitForFunction("connects.length === 1");
        await send("one");
        await page.waitForFunction("received.length === 1");
        const lost = proxy.lose('"two"');
        await send("two");
        const poll = await lost;
        await send("three");
        proxy.releaseWebSockets();
        await send("four");
        await page.waitForFunction("received.includes('four')");
        expect(await page.evaluate("received")).toEqual(["one", "two", "three", "four"]);
        expect(await page.evaluate("connects")).toEqual([false, true]);
        // Or else the test shows nothing: it is the browser that repeats a poll, by itself.
        expect(proxy.requests.filter((line) => line === poll)).toHaveLength(2);
        expect(await metric(url, "amper_poll_answers_lost_total")).toBe(1);
      });
    }
  }
});
