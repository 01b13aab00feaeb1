import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, test } from "bun:test";
import { launch, type Run } from "./support/binary.ts";
import { certificate } from "./support/certificate.ts";
import { authorize, connected, next, notify, page } from "./support/client.ts";
import { dialogue } from "./support/dialogue.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, metric, until, upgradeHeaders, upgradeRequest } from "./support/raw.ts";
import { startRealm } from "./support/realm.ts";
import { apiKey } from "./support/service.ts";

/** A service that may open few descriptors: what takes them makes way for what needs them, and the operator is told. */

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((cleanup) => cleanup()));
});

const most = 128;
/** Below this nothing makes way. */
const usable = most - 32;
/** What `wrapper` runs a process by that may open so many. */
const limited = (descriptors: number) => ["bash", "-c", `ulimit -n ${descriptors} && exec "$@"`, "bash"];

function launchLimited(env: Record<string, string> = {}): Promise<Run> {
  return launch({ wrapper: limited(most), env });
}

const openFds = (url: string) => metric(url, "process_open_fds");
const head = (lines: string) => `${lines}\r\nHost: localhost\r\n`;

/** What each connection of a flood sends, and no more. */
const floods = {
  "say nothing": "",
  "send half a head": head("GET /authorize HTTP/1.1"),
  "send half a body": `${head("POST /notify HTTP/1.1")}Content-Length: 100\r\n\r\n{`,
  "send half a chunk": `${head("POST /notify HTTP/1.1")}Transfer-Encoding: chunked\r\n\r\n8\r\n{`,
  "send half a logout": `${head("POST /backchannel-logout HTTP/1.1")}Content-Length: 100\r\n\r\nlogout`,
  "wait after an answer": `${head("GET /health/live HTTP/1.1")}\r\n`,
  "ask again and again": `${head("GET /health/live HTTP/1.1")}\r\n`.repeat(20),
  "are websockets without a CONNECT": upgradeRequest(),
  "are polling sessions without a CONNECT": `${head("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")}\r\n`,
} as const;

/** Each flood comes from an address of its own: an address has 28,000 ports, and each is taken for a minute. */
let nextAddress = 1;

/** So many connections, new ones in the place of those that are ended, until the returned function is called. */
function flood(url: string, bytes: string, count: number): () => void {
  const localAddress = `127.0.${1 + Math.floor(nextAddress / 250)}.${1 + (nextAddress++ % 250)}`;
  const target = { port: Number(new URL(url).port), host: "127.0.0.1", localAddress };
  const sockets = new Set<Socket>();
  function come(): void {
    const socket = connect(target, () => void socket.write(bytes));
    sockets.add(socket);
    socket.resume();
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  }
  const fill = (): void => {
    while (sockets.size < count) come();
  };
  fill();
  const filling = setInterval(fill, 50);
  const stop = (): void => {
    clearInterval(filling);
    for (const socket of sockets) socket.destroy();
  };
  cleanups.push(stop);
  return stop;
}

const madeWay = (url: string) => metric(url, 'amper_limited_total{limit="descriptors"}');

describe("where descriptors run out because connections", () => {
  for (const [what, bytes] of Object.entries(floods)) {
    test(`${what}, pages come, stay and are notified`, async () => {
      const { url, said } = await launchLimited();
      const before = await connected(url, "before", "msf", { transports: ["websocket"] });
      const gone = next(before.socket, "disconnect").then(() => "gone");

      const stop = flood(url, bytes, 300);
      expect(JSON.parse(await said(/"descriptors running out"/))).toMatchObject({
        level: "warn",
        used: expect.any(Number),
        most,
        reason: expect.stringContaining("raise LimitNOFILE"),
      });
      for (let i = 0; i < 5; i++) {
        const newcomer = await connected(url, "newcomer", "msf");
        await notify(url, { msg: i, keycloak: ["newcomer", "before"] });
        expect(await newcomer.count(1)).toEqual([i]);
        newcomer.socket.disconnect();
      }
      expect(await before.count(5)).toEqual([0, 1, 2, 3, 4]);
      expect(await madeWay(url)).toBeGreaterThan(0);
      const ready = await fetch(`${url}/health/ready`);
      expect([ready.status, await ready.json()]).toEqual([
        200,
        { status: "degraded", reasons: [`descriptors: they run out: the process may have ${most}`] },
      ]);

      stop();
      await said(/"descriptors free again"/);
      expect(await (await fetch(`${url}/health/ready`)).json()).toEqual({ status: "ready", reasons: [] });
      expect(await openFds(url)).toBeLessThan(usable);
      expect(await Promise.race([gone, "there"])).toBe("there");
    });
  }

  test("say nothing, pages stay that came by IPv4 to a service of both families", async () => {
    const { url, said } = await launchLimited({ AMPER_HOST: "::", AMPER_METRICS_OPEN: "true" });
    const v4 = `http://127.0.0.1:${new URL(url).port}`;
    const pages = await Promise.all(
      [v4, v4.replace("127.0.0.1", "[::1]")].map((address) =>
        connected(address, "alice", "msf", { transports: ["websocket"] }),
      ),
    );
    flood(v4, "", 300);
    await said(/"descriptors running out"/);
    await until("many have made way", async () => (await madeWay(v4)) > 300);
    await notify(v4, { msg: "still here", keycloak: "alice" });
    for (const { count } of pages) expect(await count(1)).toEqual(["still here"]);
    expect(pages.every(({ socket }) => socket.connected)).toBe(true);
  });

  test("say nothing, those that backends keep for their next call are the last to go", async () => {
    const { url, said } = await launchLimited();
    // Of one address, which holds more than any other here: each of the flood has an address of its own.
    const backends = await Promise.all(Array.from({ length: 8 }, () => dialogue(url)));
    const call = (body: string) =>
      `${head("POST /notify HTTP/1.1")}X-API-Key: ${apiKey}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const body = JSON.stringify({ msg: "hello", channel: "msf" });
    for (const { ask } of backends) expect((await ask(call(body))).status).toBe(200);
    for (let i = 0; i < 300; i++) flood(url, "", 1);
    await said(/"descriptors running out"/);
    await until("many have made way", async () => (await madeWay(url)) > 300);
    for (const { ask } of backends) expect((await ask(call(body))).status).toBe(200);
  });

  test("say nothing, a slow neighbour at another address is not ended for it", async () => {
    const { url, said } = await launchLimited();
    const port = Number(new URL(url).port);
    const neighbour = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.9" });
    const ended = new Promise((resolve) => neighbour.on("close", () => resolve("ended")));
    cleanups.push(() => neighbour.destroy());
    await new Promise<void>((resolve) => neighbour.once("connect", resolve));
    flood(url, "", 300);
    await said(/"descriptors running out"/);
    await until("many have made way", async () => (await madeWay(url)) > 300);
    const answered = new Promise((resolve) => neighbour.once("data", (data) => resolve(data.toString().slice(0, 15))));
    neighbour.write(`${head("GET /health/live HTTP/1.1")}\r\n`);
    expect(await Promise.race([answered, ended])).toBe("HTTP/1.1 200 OK");
  });

  test("say nothing, also before their TLS handshake, secure pages stay", async () => {
    const { cert, key } = certificate();
    const { url, said } = await launchLimited({
      AMPER_TLS_CERT: cert,
      AMPER_TLS_KEY: key,
      AMPER_METRICS_OPEN: "true",
    });
    const port = Number(new URL(url).port);
    const open = () => connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const websocket = open();
    cleanups.push(() => websocket.destroy());
    let text = "";
    let isGone = false;
    websocket.on("data", (data) => void (text += data.toString("latin1")));
    websocket.on("close", () => void (isGone = true));
    websocket.write(upgradeRequest());
    await until("it is open", () => text.includes("pingInterval"));

    flood(url, "", 150);
    flood(url, "\u0016\u0003\u0001", 150);
    await said(/"descriptors running out"/);
    const asked = open();
    cleanups.push(() => asked.destroy());
    const answer = new Promise((resolve) => asked.once("data", (data) => resolve(data.toString().slice(0, 15))));
    asked.write(`${head("GET /health/live HTTP/1.1")}\r\n`);
    expect(await answer).toBe("HTTP/1.1 200 OK");
    expect(isGone).toBe(false);
  });

  test("say nothing, the realm's new keys are fetched, and the journal takes on", async () => {
    const realm = await startRealm({ now: Date.now });
    cleanups.push(realm.stop);
    const { url, said } = await launchLimited({ AMPER_KEYCLOAK_ISSUER: realm.issuer, AMPER_JOURNAL: "sqlite:journal" });
    await said(/"realm keys fetched"/);
    flood(url, "", 300);
    await said(/"descriptors running out"/);
    await realm.rotate();
    const access = await realm.mint();
    const ask = () => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${access}` } });
    await until("a token of a new key is taken", async () => (await ask()).status === 200);
    expect(await notify(url, { msg: 1, channel: "msf" })).toMatchObject({ connections: 0 });
  });
});

describe("where pages hold all descriptors that may be used", () => {
  test("newcomers are told to come back, and nobody is ended", async () => {
    const { url } = await launchLimited();
    const { token } = await authorize(url);
    const options = { transports: ["websocket"] as const, token };
    const pages = await Promise.all(
      Array.from({ length: usable - 10 }, (_, i) => connected(url, `user-${i}`, "msf", options)),
    );
    const more = Array.from({ length: 10 }, (_, i) =>
      page(url, { token, keycloakID: `more-${i}`, channel: "msf" }, options),
    );
    await until("it is full", async () => {
      const response = await fetch(engineUrl(url, "polling"), { keepalive: false });
      if (response.status === 200) return false;
      expect(response.headers.get("retry-after")).toBe("5");
      expect((await expectProblem(response, "overloaded")).detail).toBe(
        "As many connections are open as the system allows the service.",
      );
      return true;
    });
    const refused = await fetch(engineUrl(url, "websocket"), { headers: upgradeHeaders });
    await expectProblem(refused, "overloaded");
    await notify(url, { msg: "to all", channel: "msf" });
    for (const { count } of pages) expect(await count(1)).toEqual(["to all"]);
    expect(pages.every(({ socket }) => socket.connected)).toBe(true);

    for (const { socket } of pages.slice(0, 30)) socket.disconnect();
    // A stock client comes back by itself.
    await Promise.all(more.map(({ socket }) => (socket.connected ? undefined : next(socket, "connect"))));
  });
});

describe("descriptors", () => {
  test("are measured under the names that Prometheus knows", async () => {
    const { url } = await launchLimited();
    expect(await metric(url, "process_max_fds")).toBe(most);
    const before = await openFds(url);
    const stop = flood(url, "", 40);
    await until("forty more are open", async () => (await openFds(url)) >= before + 40);
    stop();
    await until("they are closed", async () => (await openFds(url)) <= before + 1);
  });

  test("are as many as the hard limit allows", async () => {
    const wrapper = ["bash", "-c", 'ulimit -Sn 64 && ulimit -Hn 200 && exec "$@"', "bash"];
    expect(await metric((await launch({ wrapper })).url, "process_max_fds")).toBe(200);
  });

  test("are said at the start to be too few for max_connections, and only then", async () => {
    const few = await launchLimited({ AMPER_MAX_CONNECTIONS: String(usable + 1) });
    expect(JSON.parse(await few.said(/"few descriptors"/))).toMatchObject({
      level: "warn",
      descriptors: most,
      max_connections: usable + 1,
    });
    const enough = await launchLimited({ AMPER_MAX_CONNECTIONS: String(usable) });
    flood(enough.url, "", 300);
    await enough.said(/"descriptors running out"/);
    expect(enough.lines.join("\n")).not.toContain("few descriptors");
  });
});
