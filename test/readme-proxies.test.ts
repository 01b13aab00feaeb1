import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { launch } from "./support/binary.ts";
import { certify } from "./support/certificates.ts";
import { page, transports, type Page } from "./support/client.ts";
import { until } from "./support/raw.ts";
import { readmeProxies } from "./support/readme-proxies.ts";
import { apiKey, wsToken } from "./support/service.ts";

/** The executable behind the proxies of the README, as it says that they are set up, and in shapes that operators give them. */

const declared = { AMPER_TRUST_PROXY_HOPS: "1" };
const unverified = { tls: { rejectUnauthorized: false } };
const Token = v.object({ token: v.string() });

/** What a page has met, beside notifications. */
interface Watched extends Page {
  readonly beats: number;
  readonly cuts: number;
  /** How often it came back, and was not given all that it missed. */
  readonly unrecovered: number;
}

/** Pages of stock clients, one a transport, all of the same user on the same channel. */
async function connectAll(url: string, path = "/"): Promise<Watched[]> {
  const headers = { Authorization: `Bearer ${wsToken}` };
  const response = await fetch(`${url}${path}authorize`, { headers, ...unverified });
  const { token } = v.parse(Token, await response.json());
  return Promise.all(
    Object.values(transports).map(async (options) => {
      const auth = { token, keycloakID: "alice", channel: "msf" };
      const opened = page(url, auth, { ...options, path: `${path}socket.io/` });
      await new Promise<void>((resolve) => opened.socket.once("connect", resolve));
      return watch(opened);
    }),
  );
}

function watch(opened: Page): Watched {
  const { socket } = opened;
  let [beats, cuts, unrecovered] = [0, 0, 0];
  socket.io.on("ping", () => beats++);
  socket.on("disconnect", () => cuts++);
  socket.on("connect", () => (unrecovered += socket.recovered ? 0 : 1));
  return {
    ...opened,
    get beats() {
      return beats;
    },
    get cuts() {
      return cuts;
    },
    get unrecovered() {
      return unrecovered;
    },
  };
}

/** Calls `/notify`, and resolves with the status; or undefined, where there was no answer. */
function call(url: string, msg: unknown, key?: string): Promise<number | undefined> {
  const headers = { "X-API-Key": apiKey, ...(key !== undefined && { "Idempotency-Key": key }) };
  const body = JSON.stringify({ msg, channel: "msf" });
  return fetch(`${url}/notify`, { method: "POST", headers, body, ...unverified }).then(
    async (response) => {
      await response.text();
      return response.status;
    },
    () => undefined,
  );
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Each page got each of these, once. */
async function expectAll(pages: readonly Page[], messages: readonly unknown[]): Promise<void> {
  for (const { count } of pages) {
    const received = await count(messages.length);
    expect(new Set(received)).toEqual(new Set(messages));
    expect(received).toHaveLength(messages.length);
  }
}

for (const [name, proxy] of Object.entries(readmeProxies)) {
  proxy.describe(`behind ${name}`, () => {
    test("over TLS, pages connect on all transports, and are notified", async () => {
      const { url } = await launch({ env: declared });
      const front = await proxy.start(url, { tls: certify() });
      const pages = await connectAll(front.url);
      for (const i of numbers(3)) expect(await call(front.url, i)).toBe(200);
      await expectAll(pages, numbers(3));
    });

    for (const [path, env] of [
      ["stripped", declared],
      ["passed on", { ...declared, AMPER_BASE_PATH: "/notifications" }],
    ] as const) {
      test(`below a path that is ${path}, pages connect on all transports, and are notified`, async () => {
        const { url } = await launch({ env });
        const front = await proxy.start(url, { path });
        const pages = await connectAll(front.url, "/notifications/");
        for (const i of numbers(3)) expect(await call(`${front.url}/notifications`, i)).toBe(200);
        await expectAll(pages, numbers(3));
      });
    }

    describe("idle for longer than connections are kept", () => {
      for (const [who, idle_seconds, keep_alive] of [
        ["the proxy", 3, "75"],
        ["the service", 60, "1"],
      ] as const) {
        test(`by ${who}: no page is cut, and no call fails`, async () => {
          const env = { ...declared, AMPER_PING_INTERVAL_MS: "1000", AMPER_KEEP_ALIVE_SECONDS: keep_alive };
          const { url } = await launch({ env });
          const front = await proxy.start(url, { idle_seconds });
          const pages = await connectAll(front.url);
          const callAll = async (messages: readonly number[]) => {
            const statuses = await Promise.all(messages.map((msg) => call(front.url, msg)));
            expect(statuses).toEqual(messages.map(() => 200));
          };
          await callAll(numbers(20));
          await until("heartbeats for twelve seconds", () => pages.every(({ beats }) => beats >= 12));
          await callAll(numbers(20).map((i) => 20 + i));
          await expectAll(pages, numbers(40));
          expect(pages.map(({ cuts }) => cuts)).toEqual(pages.map(() => 0));
        });
      }
    });

    test("which reloads under load: no call is refused, and pages that it cuts miss nothing", async () => {
      const { url } = await launch({ env: declared });
      const front = await proxy.start(url, { leave_seconds: 1 });
      const pages = [...(await connectAll(front.url)), ...(await connectAll(front.url))];
      const over = new AbortController();
      const statuses = new Set<number>();
      /** A backend, which repeats a call without an answer. */
      const backend = async (_: unknown, worker: number): Promise<string[]> => {
        const sent: string[] = [];
        while (!over.signal.aborted) {
          const msg = `${worker}-${sent.length}`;
          const status = await call(front.url, msg, msg);
          if (status === undefined) continue;
          statuses.add(status);
          sent.push(msg);
        }
        return sent;
      };
      const backends = Array.from({ length: 3 }, backend);
      for (const round of [1, 2, 3]) {
        await front.reload();
        await until("the websockets are cut", () => pages.filter(({ cuts }) => cuts >= round).length >= 4);
        await until("all are back", () => pages.every(({ socket }) => socket.connected));
      }
      over.abort();
      const sent = (await Promise.all(backends)).flat();
      expect(statuses).toEqual(new Set([200]));
      expect(pages.map(({ unrecovered }) => unrecovered)).toEqual(pages.map(() => 0));
      await expectAll(pages, sent);
    });
  });
}
