import { expect, test } from "bun:test";
import { describeChromium, openPage } from "./support/chromium.ts";
import { authorize, connected, post } from "./support/client.ts";
import { metric } from "./support/raw.ts";
import { apiKey, start, wsToken } from "./support/service.ts";

/** A page that does all it can with the service, as long as it is open: what of it comes through is for the browser to say. */
const hostile = (url: string) => `<!doctype html>
  <script>
    var rounds = 0;
    const init = { mode: "no-cors" };
    const json = () => new Blob(['{"API_KEY":"x"}']);
    const form = new URLSearchParams({ logout_token: "a.b.c" });
    const attempts = [
      () => fetch("${url}/notify", { ...init, method: "POST", body: json() }),
      () => fetch("${url}/backchannel-logout", { ...init, method: "POST", body: form }),
      () => fetch("${url}/authorize", { ...init, headers: { Authorization: "Bearer x" } }),
      () => fetch("${url}/authorize", { headers: { Authorization: "Bearer x" } }),
      () => fetch("${url}/connections", { ...init, headers: { Authorization: "Bearer x" } }),
      () => fetch("${url}/socket.io/?EIO=4&transport=polling", init),
      () => fetch("${url}/socket.io/?EIO=4&transport=polling"),
      () => new Promise((done) => Object.assign(new Image(), { onerror: done, src: "${url}/connections/alice" })),
    ];
    // Not often: Chromium makes a host wait whose websockets fail.
    for (let i = 0; i < 3; i++) new WebSocket("${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket");
    (async () => {
      for (;; rounds++) await Promise.allSettled(attempts.map((attempt) => attempt()));
    })();
  </script>`;

describeChromium("a page of another origin in Chromium", () => {
  for (const [site, host] of [
    ["of another site", "localhost"],
    ["of the same site", "127.0.0.1"],
  ] as const) {
    test(`locks nobody out of the address of its visitor, ${site}`, async () => {
      const { url } = await start({
        AMPER_CORS_ORIGINS: "https://app.example",
        AMPER_AUTH_FAILURES_PER_MINUTE: "20",
        AMPER_AUTHORIZE_RATE_PER_SECOND: "1",
        AMPER_AUTHORIZE_BURST: "20",
        AMPER_HANDSHAKE_RATE_PER_SECOND: "1",
        AMPER_HANDSHAKE_BURST: "20",
      });
      const page = await openPage(hostile(url), host);
      await page.waitForFunction("rounds > 50");
      const before: unknown = await page.evaluate("rounds");
      const notified = await Array.fromAsync({ length: 40 }, async () => {
        return (await post(url, { API_KEY: apiKey, msg: 1, channel: "msf" })).status;
      });
      const authorized = await Array.fromAsync({ length: 6 }, async () => {
        return (await fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${wsToken}` } })).status;
      });
      expect(notified.filter((status) => status === 200)).toHaveLength(40);
      expect(authorized.filter((status) => status === 200)).toHaveLength(6);
      await connected(url, "alice", "msf", { token: (await authorize(url)).token });
      await page.waitForFunction(`rounds > ${String(before)}`);
      expect(await metric(url, "amper_sessions")).toBe(1);
      for (const limit of ["auth_failures_per_minute", "authorize_rate_per_second", "handshake_rate_per_second"]) {
        expect([limit, await metric(url, `amper_limited_total{limit="${limit}"}`)]).toEqual([limit, 0]);
      }
      // Or else the page has not reached the service at all.
      expect(await metric(url, 'amper_refusals_total{code="origin_forbidden"}')).toBeGreaterThan(100);
    });
  }
});
