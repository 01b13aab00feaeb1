import { expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { describeCaddy, startCaddy } from "./support/caddy.ts";
import { describeChromium, openPage } from "./support/chromium.ts";
import { notify } from "./support/client.ts";
import { describeHaproxy, startHaproxy } from "./support/haproxy.ts";
import { until } from "./support/raw.ts";
import { wsToken } from "./support/service.ts";

/** Real proxies that tell their servers apart by a cookie, across origins. A polling session lives in one process. */

const proxies = [
  [
    describeHaproxy,
    "haproxy",
    (hosts: readonly string[]) => {
      const servers = hosts.map((host, i) => `  server node${i} ${host} cookie node${i}`);
      return startHaproxy({
        mode: "http",
        frontend: "  option forwardfor",
        backend: ["  balance roundrobin", "  cookie node insert indirect nocache", ...servers].join("\n"),
      });
    },
  ],
  [
    describeCaddy,
    "caddy",
    (hosts: readonly string[]) =>
      startCaddy({ site: `reverse_proxy ${hosts.join(" ")} {\n lb_policy cookie node {\n fallback round_robin\n}\n}` }),
  ],
] as const;

/** Connects by polling only, and collects in `received`, or says in `failed` why it cannot. */
const connecting = (url: string, withCredentials: boolean) => `
  window.received = [];
  window.failed = [];
  (async () => {
    const { io } = await import("${url}/socket.io/socket.io.esm.min.js");
    const credentials = "${withCredentials ? "include" : "omit"}";
    const headers = { Authorization: "Bearer ${wsToken}" };
    const { token } = await (await fetch("${url}/authorize", { credentials, headers })).json();
    const auth = { token, keycloakID: "alice", channel: "msf" };
    const options = { auth, transports: ["polling"], reconnection: false, withCredentials: ${withCredentials} };
    const socket = io("${url}", options);
    socket.on("connect_error", (error) => failed.push(error.message));
    socket.on("disconnect", (reason) => failed.push(reason));
    socket.on("notification", (msg) => received.push(msg));
  })().catch((error) => failed.push(error.message));`;

for (const [describePart, name, begin] of proxies) {
  describePart(`behind ${name}, with a cookie for each of three nodes,`, () => {
    describeChromium("a page of another origin in Chromium", () => {
      async function open(withCredentials: boolean) {
        const page = await openPage("<!doctype html>");
        const env = {
          AMPER_TRUST_PROXY_HOPS: "1",
          AMPER_CORS_ORIGINS: new URL(page.url()).origin,
          AMPER_TOKEN_SECRET: "s".repeat(32),
        };
        const nodes = await Promise.all([1, 2, 3].map(() => launch({ env })));
        const front = await begin(nodes.map(({ url }) => new URL(url).host));
        await page.evaluate(connecting(front.url, withCredentials));
        return { page, nodes };
      }

      test("keeps its node where it sends cookies", async () => {
        const { page, nodes } = await open(true);
        await until("the page is connected to one of them", async () => {
          const receipts = await Promise.all(nodes.map(({ url }) => notify(url, { msg: 1, keycloak: "alice" })));
          return receipts.reduce((sum, { connections }) => sum + connections, 0) === 1;
        });
        for (const msg of [2, 3]) for (const { url } of nodes) await notify(url, { msg, keycloak: "alice" });
        await page.waitForFunction("received.includes(3) || failed.length > 0");
        expect(await page.evaluate("failed")).toEqual([]);
      });

      test("loses its node where it does not", async () => {
        const { page } = await open(false);
        await page.waitForFunction("failed.length > 0");
        expect(await page.evaluate("received")).toEqual([]);
      });
    });
  });
}
