import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { readmePath } from "./house/docs.ts";
import { launch } from "./support/binary.ts";
import { caddyOf, describeCaddy, startCaddy } from "./support/caddy.ts";
import { connected, notify, post, transports } from "./support/client.ts";
import { detoursTo } from "./support/detours.ts";
import { folder } from "./support/folder.ts";
import { freePort } from "./support/front.ts";
import { describeHaproxy, haproxyOf, startHaproxy } from "./support/haproxy.ts";
import { describeNginx, nginxOf, startNginx, type NginxConfig } from "./support/nginx.ts";
import { expectProblem } from "./support/problem.ts";
import { handled, metric, talk, until } from "./support/raw.ts";
import { apiKey, start, wsToken } from "./support/service.ts";
import { smuggled } from "./support/smuggling.ts";

/** The service behind the proxies that operators have. Those with an allow-list let `/socket.io/` and `/authorize` pass. */

const readme = await Bun.file(readmePath).text();

/** What is common to all proxies, and their configurations: for the service at `url`. */
type Begin = (url: string) => Promise<{ readonly url: string }>;

const hostOf = (url: string): string => `127.0.0.1:${new URL(url).port}`;

/** As in the README, for these places only. */
function nginxAllowing(url: string, lines = ""): NginxConfig {
  const { http = "", server } = nginxOf(readme, url);
  const only = ["/socket.io/", "= /authorize"].map((place) =>
    server.replace("location / {", `location ${place} {${lines}`),
  );
  return { http, server: `${only.join("\n")} location / { return 403; }` };
}

const nginx = {
  "as in the README": (url) => startNginx(nginxOf(readme, url)),
  "with a bare proxy_pass": (url) => startNginx({ server: `location / { proxy_pass http://${hostOf(url)}; }` }),
  "without buffering": (url) => {
    const { http = "", server } = nginxOf(readme, url);
    return startNginx({
      http,
      server: server.replace("location / {", "location / { proxy_request_buffering off;"),
    });
  },
} satisfies Record<string, Begin>;

const nginxWithList = {
  "with an allow-list": (url) => startNginx(nginxAllowing(url)),
  "with an allow-list, without buffering": (url) => startNginx(nginxAllowing(url, "proxy_request_buffering off;")),
} satisfies Record<string, Begin>;

const haproxyTo = (url: string, mode: "http" | "tcp", frontend = "") => {
  const reuse = mode === "http" ? "  http-reuse always\n" : "";
  return startHaproxy({ mode, frontend, backend: `${reuse}  server one ${hostOf(url)}` });
};

const haproxy = {
  "as in the README": (url) => startHaproxy(haproxyOf(readme, url)),
  "in http mode": (url) => haproxyTo(url, "http", "  option forwardfor"),
  "in http mode, without forwardfor": (url) => haproxyTo(url, "http"),
  "in tcp mode": (url) => haproxyTo(url, "tcp"),
} satisfies Record<string, Begin>;

const haproxyWithList = {
  "with an allow-list": (url) =>
    haproxyTo(url, "http", "  http-request deny unless { path_beg /socket.io/ } || { path /authorize }"),
} satisfies Record<string, Begin>;

const caddy = {
  "as in the README": (url) => startCaddy(caddyOf(readme, url)),
  "without a block": (url) => startCaddy({ site: `reverse_proxy ${hostOf(url)}` }),
} satisfies Record<string, Begin>;

const caddyWithList = {
  "with an allow-list": (url) => {
    const { site } = caddyOf(readme, url);
    return startCaddy({ site: `@list path /socket.io/* /authorize\nhandle @list {\n${site}}\nrespond 403` });
  },
} satisfies Record<string, Begin>;

for (const [describePart, name, open, listed] of [
  [describeNginx, "nginx", nginx, nginxWithList],
  [describeHaproxy, "haproxy", haproxy, haproxyWithList],
  [describeCaddy, "caddy", caddy, caddyWithList],
] as const) {
  describePart(`behind ${name}`, () => {
    for (const [kind, begin] of Object.entries<Begin>({ ...open, ...listed })) describe(kind, () => testFront(begin));
    for (const [kind, begin] of Object.entries<Begin>(listed)) describe(kind, () => testAllowList(begin));
  });
}

const hidden = (() => {
  const body = JSON.stringify({ msg: "hidden", channel: "msf" });
  const headers = ["Host: localhost", `X-API-Key: ${apiKey}`, `Content-Length: ${body.length}`];
  return `POST /notify HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n${body}`;
})();

const outer = [
  "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1",
  "POST /authorize HTTP/1.1",
  "GET /authorize HTTP/1.1",
];

/** Sends them all at once, each on its own connection. */
async function smuggle(url: string): Promise<void> {
  // What is not answered waits for more, or for its end: two requests later, what was sent has been read.
  const leaveAfter = (): Promise<void> => handled(url);
  await Promise.all(
    outer.flatMap((line) => smuggled(line, hidden)).map((bytes) => talk(url, bytes, { enough: Infinity, leaveAfter })),
  );
}

const notified = 'amper_notifications_total{kind="channel",key="backend"}';

function testFront(begin: Begin): void {
  for (const [name, options] of Object.entries(transports)) {
    // Without a word about upgrades, nginx lets none pass: stock clients go on polling.
    if (name === "websocket only" && begin === nginx["with a bare proxy_pass"]) continue;
    test(`a stock client connects and is notified, ${name}`, async () => {
      const { url } = await start();
      const front = await begin(url);
      const { count } = await connected(front.url, "alice", "msf", options);
      for (const msg of [1, 2]) await notify(url, { msg, channel: "msf" });
      expect(await count(2)).toEqual([1, 2]);
    });
  }

  test("each answer is for its own request, whatever others try to hide in theirs", async () => {
    const { url } = await start();
    const front = await begin(url);
    const ask = async (id: string) => {
      const { status, headers } = await fetch(`${front.url}/authorize`, { headers: { "X-Request-Id": id } });
      return [status, headers.get("x-request-id")];
    };
    const askAll = async (round: string) => {
      const ids = Array.from({ length: 40 }, (_, i) => `${round}-${i}`);
      expect(await Promise.all(ids.map(ask))).toEqual(ids.map((id) => [401, id]));
    };
    await Promise.all([smuggle(front.url), askAll("during")]);
    await askAll("after");
  });

  test("/metrics is closed, whatever a request says about where it comes from", async () => {
    const { url } = await start({ AMPER_HOST: "0.0.0.0" });
    const front = await begin(url);
    for (const headers of [
      {},
      { Host: "localhost" },
      { Host: "127.0.0.1:3000", "X-Forwarded-For": "127.0.0.1" },
      { Host: "[::1]", Forwarded: "for=127.0.0.1", "X-Real-IP": "::1" },
    ]) {
      const response = await fetch(`${front.url}/metrics`, { headers });
      expect([headers, response.status]).toEqual([headers, 403]);
      expect(await response.text()).not.toContain("amper_");
    }
  });

  test("nothing is lost over a restart of the service", async () => {
    const [port, journal] = [freePort(), join(folder(), "journal.db")];
    const env = { AMPER_PORT: String(port), AMPER_JOURNAL: `sqlite:${journal}` };
    const before = await launch({ env });
    const front = await begin(before.url);
    const pages = await Promise.all(
      (["default transports", "polling only"] as const).map((name) =>
        connected(front.url, "alice", "msf", transports[name]),
      ),
    );
    await notify(before.url, { msg: 1, channel: "msf" });
    await Promise.all(pages.map(({ count }) => count(1)));
    before.kill("SIGTERM");
    const after = launch({ env });
    // A backend repeats its call until it is answered.
    const body = { API_KEY: apiKey, msg: 2, channel: "msf" };
    const key = { "Idempotency-Key": "two" };
    await until("the call succeeds", async () =>
      post(`http://127.0.0.1:${port}`, body, key).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    expect(await before.exited).toBe(0);
    await notify((await after).url, { msg: 3, channel: "msf" });
    for (const { count, socket } of pages) {
      expect(await count(3)).toEqual([1, 2, 3]);
      expect(socket.recovered).toBe(true);
    }
  });
}

function testAllowList(begin: Begin): void {
  test("a request that is hidden in another reaches nothing", async () => {
    const { url } = await start();
    const front = await begin(url);
    await talk(url, hidden);
    expect(await metric(url, notified)).toBe(1);
    await smuggle(front.url);
    await handled(front.url);
    expect(await metric(url, notified)).toBe(1);
  });

  test("no path leads out of the list", async () => {
    const { url } = await start();
    const front = await begin(url);
    const credentials = [`X-API-Key: ${apiKey}`, `Authorization: Bearer ${wsToken}`];
    const routes = ["notify", "connections", "connections/alice", "metrics", "health/live", "backchannel-logout"];
    for (const target of routes.flatMap((route) => detoursTo(route).concat(`/${route}`))) {
      for (const method of ["GET", "POST"]) {
        for (const credential of credentials) {
          const request = `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n${credential}\r\nContent-Length: 0\r\n\r\n`;
          const { answers } = await talk(front.url, request);
          const refused = expect.arrayContaining([answers[0]?.status]);
          expect([target, [400, 403, 404]]).toEqual([target, refused]);
        }
      }
    }
    const scraped = await (await fetch(`${url}/metrics`)).text();
    const seen = [...scraped.matchAll(/^amper_http_requests_total\{route="([^"]*)"/gm)].map(([, route]) => route);
    expect(seen.filter((route) => route !== "(other)" && route !== "/authorize")).toEqual([]);
  });
}

describeNginx("a proxy on the same machine, in front of a service that listens on loopback,", () => {
  test("does not open /metrics if it says that it is there, or is declared", async () => {
    const shown = await start();
    const bare = await start({ AMPER_TRUST_PROXY_HOPS: "1" });
    for (const front of [await nginx["as in the README"](shown.url), await nginx["with a bare proxy_pass"](bare.url)]) {
      await expectProblem(await fetch(`${front.url}/metrics`), "metrics_forbidden");
    }
  });

  test("may reload its configuration: its clients stay, or come back and miss nothing", async () => {
    const { url } = await start();
    const front = await nginx["as in the README"](url);
    const page = await connected(front.url, "alice", "msf");
    await notify(url, { msg: 1, channel: "msf" });
    await page.count(1);
    await front.reload(nginxAllowing(url));
    expect((await fetch(`${front.url}/health/live`)).status).toBe(403);
    await notify(url, { msg: 2, channel: "msf" });
    expect(await page.count(2)).toEqual([1, 2]);
  });
});
