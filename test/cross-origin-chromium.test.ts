import { expect, test } from "bun:test";
import { describeChromium, openPage } from "./support/chromium.ts";
import { notify } from "./support/client.ts";
import { until } from "./support/raw.ts";
import { start, wsToken } from "./support/service.ts";
import { stickyBalancer } from "./support/sticky-balancer.ts";

/** What a browser lets a page of a listed origin do, and a page of any other not. */

/** Connects by polling only, and collects in `received`, or says in `failed` why it cannot. */
const connecting = (url: string, options: object) => `
  window.received = [];
  window.failed = [];
  (async () => {
    const { io } = await import("${url}/socket.io/socket.io.esm.min.js");
    const init = { credentials: "include", headers: { Authorization: "Bearer ${wsToken}", traceparent: "00-1-2-01" } };
    const { token } = await (await fetch("${url}/authorize", init)).json();
    const auth = { token, keycloakID: "alice", channel: "msf" };
    const socket = io("${url}", { auth, transports: ["polling"], reconnection: false, ...${JSON.stringify(options)} });
    socket.on("connect_error", (error) => failed.push(error.message));
    socket.on("disconnect", (reason) => failed.push(reason));
    socket.on("notification", (msg) => received.push(msg));
  })().catch((error) => failed.push(error.message));`;

describeChromium("a page of a listed origin in Chromium", () => {
  for (const [listing, host, listed] of [
    ["by its name", "127.0.0.1", (origin: string) => origin],
    ["by a wildcard", "b2b.localhost", (origin: string) => origin.replace("b2b", "*")],
  ] as const) {
    test(`may send tracing headers and its credential, listed ${listing}`, async () => {
      const page = await openPage("<!doctype html>", host);
      const { url } = await start({ AMPER_CORS_ORIGINS: listed(new URL(page.url()).origin) });
      await page.evaluate(connecting(url, { extraHeaders: { "sentry-trace": "1-2" }, withCredentials: true }));
      await until(
        "the page is connected",
        async () => (await notify(url, { msg: 1, keycloak: "alice" })).connections > 0,
      );
      await page.waitForFunction("received.length > 0 || failed.length > 0");
      expect(await page.evaluate("failed")).toEqual([]);
    });
  }

  test("keeps its node by the cookie of a sticky balancer, across origins", async () => {
    const page = await openPage("<!doctype html>");
    const env = { AMPER_CORS_ORIGINS: new URL(page.url()).origin };
    const nodes = await Promise.all([1, 2, 3].map(() => start({ ...env, AMPER_TOKEN_SECRET: "s".repeat(32) })));
    const balancer = await stickyBalancer(nodes.map(({ url }) => url));
    await page.evaluate(connecting(balancer.url, { withCredentials: true }));
    const connections = async (): Promise<number> => {
      const receipts = await Promise.all(nodes.map(({ url }) => notify(url, { msg: "hello", keycloak: "alice" })));
      return receipts.reduce((sum, receipt) => sum + receipt.connections, 0);
    };
    await until("the page is connected to one of them", async () => (await connections()) === 1);
    await page.waitForFunction("received.length > 0 || failed.length > 0");
    expect(await page.evaluate("failed")).toEqual([]);
  });
});

describeChromium("a page of another origin in Chromium, with any origin allowed,", () => {
  test("connects with what it sends itself, but without cookies", async () => {
    const { url } = await start();
    const page = await openPage("<!doctype html>");
    await page.evaluate(connecting(url, {}).replace(' credentials: "include",', ""));
    await until(
      "the page is connected",
      async () => (await notify(url, { msg: 1, keycloak: "alice" })).connections > 0,
    );
    await page.waitForFunction("received.length > 0 || failed.length > 0");
    expect(await page.evaluate("failed")).toEqual([]);
    const included: unknown = await page.evaluate(
      `fetch("${url}/authorize", { credentials: "include", headers: { Authorization: "Bearer ${wsToken}" } }).then(() => true, () => false)`,
    );
    expect(included).toBe(false);
  });
});
