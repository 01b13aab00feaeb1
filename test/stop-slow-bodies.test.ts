import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { launch, listening, spawn } from "./support/binary.ts";
import { notify } from "./support/client.ts";
import { folder } from "./support/folder.ts";
import { listen } from "./support/loopback.ts";
import { rawPolling, until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** A stop finishes what has reached the journal, and nothing else: not what a stranger is still sending. */

const open = new Set<Socket>();
afterEach(() => {
  for (const socket of open) socket.destroy();
  open.clear();
});

/** A request whose body has begun and goes on by a byte now and then, and never ends. */
interface Slow {
  /** All that was answered. Resolves when the server has closed the connection. */
  readonly answered: Promise<string>;
  /** Resolves when the service has got the head, and so much of the body. */
  sent(bytes: number): Promise<void>;
}

function slow(url: string, head: string, piece: string): Slow {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  open.add(socket);
  let text = "";
  let sent_bytes = 0;
  socket.write(`${head}\r\n\r\n`);
  const drip = (): void => {
    socket.write(piece);
    sent_bytes += piece.length;
  };
  const dripping = setInterval(drip, 20);
  const { promise: answered, resolve } = Promise.withResolvers<string>();
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("error", () => {});
  socket.on("close", () => {
    clearInterval(dripping);
    resolve(text);
  });
  return { answered, sent: (bytes) => until("the body has begun", () => sent_bytes >= bytes) };
}

const json = "Host: x\r\nContent-Type: application/json\r\n";
const declared = "Content-Length: 60000";
const chunked = "Transfer-Encoding: chunked";

const requests: Record<string, (url: string) => Promise<Slow>> = {
  "a notification without a key": async (url) => slow(url, `POST /notify HTTP/1.1\r\n${json}${declared}`, "x"),
  "a notification with a good key": async (url) =>
    slow(url, `POST /notify HTTP/1.1\r\n${json}X-API-Key: ${apiKey}\r\n${declared}`, "x"),
  "a notification in chunks": async (url) => slow(url, `POST /notify HTTP/1.1\r\n${json}${chunked}`, "1\r\nx\r\n"),
  "a logout": async (url) => slow(url, `POST /backchannel-logout HTTP/1.1\r\nHost: x\r\n${declared}`, "x"),
  "a message of a polling session": async (url) => {
    const { sid } = await rawPolling(url);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    return slow(url, `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 6000`, "x");
  },
  "a message of a polling session in chunks": async (url) => {
    const { sid } = await rawPolling(url);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    return slow(url, `POST ${path} HTTP/1.1\r\nHost: x\r\n${chunked}`, "1\r\nx\r\n");
  },
};

describe("a body that is still coming at the stop is answered 503 at once", () => {
  for (const [name, begin] of Object.entries(requests)) {
    test(name, async () => {
      const service = await start();
      const request = await begin(service.url);
      await request.sent(5);
      const stopped = service.stop();
      const text = await request.answered;
      expect(text).toStartWith("HTTP/1.1 503 ");
      expect(text).toContain('"code":"draining"');
      expect(text.toLowerCase()).toContain("connection: close");
      expect(text.toLowerCase()).toContain("retry-after: ");
      expect(await stopped).toBe(true);
    });
  }
});

test("a login that waits for Keycloak does not hold up the stop", async () => {
  // Neither does the limit on that wait end it.
  const patience = spyOn(AbortSignal, "timeout").mockImplementation(() => new AbortController().signal);
  const asked = Promise.withResolvers<void>();
  const keycloak = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.once("data", () => asked.resolve());
  });
  const origin = await listen(keycloak, () => {});
  try {
    const service = await start({ AMPER_KEYCLOAK_ISSUER: `${origin}/realms/main` });
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { iss: `${origin}/realms/main`, sub: "alice", exp: 4_000_000_000 };
    const token = `${part({ alg: "RS256", kid: "new" })}.${part(claims)}.c2lnbmF0dXJl`;
    const answer = fetch(`${service.url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
    await asked.promise;
    const health = await fetch(`${service.url}/health/live`);
    expect(health.status).toBe(200);
    const stopped = service.stop();
    expect((await answer).status).toBe(503);
    expect(await stopped).toBe(true);
  } finally {
    patience.mockRestore();
  }
});

describe("the executable", () => {
  test("gives the journal to its successor although strangers hold twenty bodies open", async () => {
    const env = { AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
    const first = await launch({ env });
    const { port } = new URL(first.url);
    const strangers = Array.from({ length: 20 }, () =>
      slow(first.url, `POST /notify HTTP/1.1\r\n${json}${declared}`, "x"),
    );
    await Promise.all(strangers.map(({ sent }) => sent(5)));
    const successor = await spawn({ env: { ...env, AMPER_PORT: port } });
    await successor.said(/waiting for the journal/);
    first.kill("SIGTERM");
    const answers = await Promise.all(strangers.map(({ answered }) => answered));
    // Each was told: cut by the limit on slow requests, seconds later, it would have got no answer.
    for (const answer of answers) expect(answer).toContain('"code":"draining"');
    expect(await first.exited).toBe(0);
    const { url } = await listening(successor);
    expect(await notify(url, { msg: 1, channel: "msf" })).toMatchObject({ connections: 0 });
  });
});
