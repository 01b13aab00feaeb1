import { X509Certificate } from "node:crypto";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:tls";
import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { certify, encrypted, type Certified } from "./support/certificates.ts";
import { transports } from "./support/client.ts";
import { until } from "./support/raw.ts";
import {
  connectedSecurely,
  connectionsOf,
  notifySecurely,
  putInPlace,
  serialShown,
  startSecurely,
  writeOver,
} from "./support/secure-service.ts";

/** A certificate is renewed while the service runs, and nobody notices but who connects anew. */

const [first, second, third] = [certify(), certify(), certify()];
const expired = certify("20200101", "20200201");
const ofTomorrow = certify("20980101", "20990101");

const serialOf = ({ cert }: Certified): string => new X509Certificate(readFileSync(cert)).serialNumber;

describe.each([
  ["in place", writeOver],
  ["by rename", putInPlace],
])("renewed %s", (_, renew) => {
  for (const [name, options] of Object.entries(transports)) {
    test(`connections stay and are notified, and new ones see it, ${name}`, async () => {
      const { url, files, reload, lines } = await startSecurely(first);
      const before = await connectedSecurely(url, "alice", "msf", options);
      const ends: unknown[] = [];
      before.socket.on("disconnect", (reason) => ends.push(reason));
      renew(files, second);
      reload();
      expect(await serialShown(url)).toBe(serialOf(second));
      const after = await connectedSecurely(url, "bob", "msf", options);
      expect(await notifySecurely(url, { msg: "to all", channel: "msf" })).toBe(2);
      expect(await notifySecurely(url, { msg: "to alice", keycloak: "alice" })).toBe(1);
      expect(await before.count(2)).toEqual(["to all", "to alice"]);
      expect(await after.count(1)).toEqual(["to all"]);
      expect(ends).toEqual([]);
      expect(lines).toContainEqual({
        level: "info",
        event: "certificate reloaded",
        fields: { days: expect.any(Number) },
      });
    });
  }
});

test("renewed again and again, each connection is notified once, whichever certificate it came by", async () => {
  const { url, files, reload } = await startSecurely(first);
  const pages = [await connectedSecurely(url, "u0", "msf", transports["websocket only"])];
  for (const [index, renewed] of [second, third, first].entries()) {
    writeOver(files, renewed);
    reload();
    expect(await serialShown(url)).toBe(serialOf(renewed));
    pages.push(await connectedSecurely(url, `u${index + 1}`, "msf", transports["websocket only"]));
  }
  expect(await notifySecurely(url, { msg: 1, channel: "msf" })).toBe(4);
  pages[1]?.socket.disconnect();
  await until("one has left", async () => (await connectionsOf(url)) === 3);
  expect(await notifySecurely(url, { msg: 2, channel: "msf" })).toBe(3);
  for (const { count } of pages.toSpliced(1, 1)) expect(await count(2)).toEqual([1, 2]);
});

test("while it is renewed, no connection is refused or reset", async () => {
  const { url, files, reload } = await startSecurely(first);
  const { hostname: host, port } = new URL(url);
  const failures: unknown[] = [];
  let made = 0;
  const over = new AbortController();
  /** Opens one connection after the other, and has each answered. */
  async function knock(): Promise<void> {
    while (!over.signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () =>
        socket.write("GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
      );
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
      socket.on("error", (error) => failures.push(error));
      socket.on("close", () => {
        if (!text.startsWith("HTTP/1.1 200")) failures.push(text);
        made++;
        resolve();
      });
      await promise;
    }
  }
  const knocking = Array.from({ length: 20 }, knock);
  for (let round = 0; round < 20; round++) {
    writeOver(files, [first, second][(round + 1) % 2] ?? first);
    reload();
    const before = made;
    await until("some have come and gone", () => made >= before + 20);
  }
  over.abort();
  await Promise.all(knocking);
  expect(failures).toEqual([]);
});

test("a connection that is kept says so with its next answer, and is not cut before", async () => {
  const { url, files, reload } = await startSecurely(first);
  const { hostname: host, port } = new URL(url);
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
  let text = "";
  let isClosed = false;
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  socket.on("close", () => (isClosed = true));
  const request = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
  socket.write(request);
  await until("it is answered", () => text.includes('"live"'));
  writeOver(files, second);
  reload();
  expect(await serialShown(url)).toBe(serialOf(second));
  expect(isClosed).toBe(false);
  text = "";
  socket.write(request);
  await until("it is closed", () => isClosed);
  expect(text).toMatch(/^HTTP\/1\.1 200 [^]*\r\nConnection: close\r\n[^]*"live"/i);
});

test("another path is adopted", async () => {
  const { url, reload } = await startSecurely(first);
  reload({ AMPER_TLS_CERT: second.cert, AMPER_TLS_KEY: second.key });
  expect(await serialShown(url)).toBe(serialOf(second));
});

test("files that have not changed change nothing", async () => {
  const { url, reload, lines } = await startSecurely(first);
  reload();
  expect(lines.filter(({ event }) => event.startsWith("certificate"))).toEqual([]);
  expect(await serialShown(url)).toBe(serialOf(first));
});

describe("what cannot be used changes nothing, and is an error in the log with the remedy:", () => {
  const bad: Readonly<Record<string, { change: (files: Certified) => void; says: RegExp }>> = {
    "a certificate without its key": { change: ({ cert }) => copyFileSync(second.cert, cert), says: /does not belong/ },
    "a key without its certificate": { change: ({ key }) => copyFileSync(second.key, key), says: /does not belong/ },
    "half a certificate": {
      change: ({ cert }) => writeFileSync(cert, readFileSync(second.cert, "utf8").slice(0, 200)),
      says: /is not a certificate chain/,
    },
    "an empty key": { change: ({ key }) => writeFileSync(key, ""), says: /is not a private key/ },
    "a certificate that is gone": { change: ({ cert }) => rmSync(cert), says: /does not exist/ },
    "a key with a passphrase": { change: ({ key }) => copyFileSync(encrypted(first), key), says: /has a passphrase/ },
    "one that has expired": { change: (files) => writeOver(files, expired), says: /has expired on 2020-02-01/ },
    "one of tomorrow": { change: (files) => writeOver(files, ofTomorrow), says: /is not valid before 2098-01-01/ },
  };
  for (const [name, { change, says }] of Object.entries(bad)) {
    test(name, async () => {
      const { url, files, reload, lines } = await startSecurely(first);
      const { socket, count } = await connectedSecurely(url, "alice", "msf", transports["websocket only"]);
      change(files);
      reload();
      expect(lines.filter(({ event }) => event.startsWith("certificate"))).toEqual([
        {
          level: "error",
          event: "certificate not reloaded",
          fields: { problem: expect.stringMatching(says), remedy: expect.stringContaining("SIGHUP") },
        },
      ]);
      expect(await serialShown(url)).toBe(serialOf(first));
      await notifySecurely(url, { msg: 1, channel: "msf" });
      expect(await count(1)).toEqual([1]);
      expect(socket.connected).toBe(true);
      writeOver(files, second);
      reload();
      expect(await serialShown(url)).toBe(serialOf(second));
    });
  }
});

test("a stop right after a renewal ends both, and frees the port", async () => {
  const { service, url, files, reload } = await startSecurely(first);
  await connectedSecurely(url, "alice", "msf", transports["websocket only"]);
  writeOver(files, second);
  reload();
  await connectedSecurely(url, "bob", "msf", transports["websocket only"]);
  expect(await service.stop()).toBe(true);
  writeOver(files, first);
  reload();
  const { port } = new URL(url);
  const next = Bun.serve({ hostname: "127.0.0.1", port: Number(port), fetch: () => new Response() });
  await next.stop(true);
});

describe("the executable", () => {
  test("renews at SIGHUP, and a second one does not get its port", async () => {
    const files = { cert: `${certify().cert}.own`, key: `${certify().key}.own` };
    writeOver(files, first);
    const run = await launch({ env: { AMPER_TLS_CERT: files.cert, AMPER_TLS_KEY: files.key } });
    expect(await serialShown(run.url)).toBe(serialOf(first));
    putInPlace(files, second);
    run.kill("SIGHUP");
    await run.said(/"certificate reloaded"/);
    expect(await serialShown(run.url)).toBe(serialOf(second));
    expect(run.lines.filter((line) => /restart|not reloaded/.test(line))).toEqual([]);
    const port = Number(new URL(run.url).port);
    expect(() => Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response() })).toThrow("in use");
  });

  test("serves the connections that came before it could renew", async () => {
    const [cert, key] = [`${certify().cert}.own`, `${certify().key}.own`];
    writeOver({ cert, key }, first);
    const run = await launch({ env: { AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key } });
    const { hostname: host, port } = new URL(run.url);
    // The kernel takes them, and their first packet, for the service.
    run.kill("SIGSTOP");
    let [opened, answered] = [0, 0];
    const failures: unknown[] = [];
    const sockets = Array.from({ length: 100 }, () =>
      connect({ host, port: Number(port), rejectUnauthorized: false })
        .on("connect", () => opened++)
        .on("secureConnect", () => answered++)
        .on("error", (error) => failures.push(error)),
    );
    await until("each is open", () => opened === sockets.length);
    writeOver({ cert, key }, second);
    run.kill("SIGHUP");
    run.kill("SIGCONT");
    await until("each is answered, or ends", () => answered + failures.length === sockets.length);
    expect(failures).toEqual([]);
    for (const socket of sockets) socket.destroy();
    await run.said(/"certificate reloaded"/);
  });

  test("does not begin or cease to speak TLS at SIGHUP, and says what it takes", async () => {
    const toml = `${certify().cert}.toml`;
    writeFileSync(toml, "");
    const run = await launch({ args: ["--config", toml] });
    writeFileSync(toml, `tls_cert = "${first.cert}"\ntls_key = "${first.key}"\n`);
    run.kill("SIGHUP");
    expect(await run.said(/need a restart/)).toContain("tls_cert tls_key");
    expect((await fetch(`${run.url}/health/live`)).status).toBe(200);
  });
});
