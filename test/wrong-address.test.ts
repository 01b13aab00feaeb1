import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { Log } from "../src/observe/log.ts";
import { authorize, next, notify, page, transports } from "./support/client.ts";
import { connect } from "./support/openings.ts";
import { engineUrl, metric, raws, talk, until, upgradeRequest } from "./support/raw.ts";
import { quietLog, start } from "./support/service.ts";

/** Clients that cannot get in for a reason that their own library does not tell. */

type Line = Readonly<Record<string, unknown>>;

async function setUp() {
  const lines: Line[] = [];
  const log: Log = { ...quietLog, info: (event, fields) => void lines.push({ event, ...fields }) };
  const { url } = await start({}, { log });
  const said = async (event: string): Promise<Line> => {
    await until(`a line says ${event}`, () => lines.some((line) => line["event"] === event));
    const [first = {}, ...more] = lines.filter((line) => line["event"] === event);
    expect(more).toEqual([]);
    return first;
  };
  return { url, lines, said };
}

const namespaceRefused = 'amper_refusals_total{code="invalid_namespace"}';

for (const [name, options] of Object.entries(transports)) {
  test(`a sub-path in the address of \`io\` is Socket.IO's own refusal, and the log has the remedy, ${name}`, async () => {
    const { url, said } = await setUp();
    const auth = { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" };
    const { socket } = page(`${url}/channels`, auth, options);
    const error = await next(socket, "connect_error");
    expect([String(error), Object(error).data]).toEqual(["Error: Invalid namespace", undefined]);
    expect(await said("connection refused")).toEqual({
      event: "connection refused",
      code: "invalid_namespace",
      reason: expect.stringContaining("{ path: "),
      namespace: "/channels",
      connectionId: expect.any(String),
      address: "127.0.0.1",
      transport: name === "websocket only" ? "websocket" : "polling",
    });
    expect(await metric(url, namespaceRefused)).toBe(1);
  });
}

for (const [name, open] of Object.entries(raws)) {
  describe(`a namespace, ${name}`, () => {
    test("is the main one in its long form too, as the client for Swift writes it", async () => {
      const { url, lines } = await setUp();
      const auth = { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" };
      const raw = await open(url);
      await raw.send(`40/,${JSON.stringify(auth)}`);
      expect(await raw.next()).toStartWith("40{");
      expect(await notify(url, { msg: 1, keycloak: "alice" })).toMatchObject({ connections: 1 });
      expect(lines.filter(({ event }) => event === "connection refused")).toEqual([]);
    });

    test("is logged without what may be a secret in it, and not longer than a name", async () => {
      const { url, said } = await setUp();
      const raw = await open(url);
      await raw.send(`40/${"x".repeat(500)}?token=secret,{"token":"secret"}`);
      expect(await raw.next()).toStartWith("44/");
      const line = await said("connection refused");
      expect(line["namespace"]).toBe(`/${"x".repeat(63)}`);
      expect(JSON.stringify(line)).not.toContain("secret");
    });

    test("is logged no further than it is a path: where a comma is missing, it is the payload", async () => {
      const { url, said } = await setUp();
      const raw = await open(url);
      await raw.send(`40/channels{"token":"secret"}`);
      expect(await raw.next()).toStartWith("44/");
      const line = await said("connection refused");
      expect(line["namespace"]).toBe("/channels");
      expect(JSON.stringify(line)).not.toContain("secret");
    });

    test("of a second CONNECT is not told: the first one was good", async () => {
      const { url } = await setUp();
      const raw = await open(url);
      await connect(raw, { token: (await authorize(url)).token, keycloakID: "alice", channel: "msf" });
      await raw.send("40/other,");
      expect(await raw.next()).toStartWith("44/other");
      expect(await metric(url, namespaceRefused)).toBe(0);
    });
  });
}

describe("a client of Socket.IO 2 is told, and the operator too, what it has to be", () => {
  const Refusal = v.object({ code: v.literal("invalid_request"), detail: v.string() });
  const remedy = /EIO=3.*use socket\.io-client 4/;

  test("by polling", async () => {
    const { url, said } = await setUp();
    const response = await fetch(engineUrl(url, "polling").replace("EIO=4", "EIO=3"));
    expect(response.status).toBe(400);
    expect(v.parse(Refusal, await response.json()).detail).toMatch(remedy);
    expect(await said("request refused")).toMatchObject({
      reason: expect.stringMatching(remedy),
      address: "127.0.0.1",
    });
  });

  test("by websocket", async () => {
    const { url, said } = await setUp();
    const { answers } = await talk(url, upgradeRequest().replace("EIO=4", "EIO=3"));
    expect(answers[0]?.status).toBe(400);
    expect(v.parse(Refusal, JSON.parse(answers[0]?.body ?? "")).detail).toMatch(remedy);
    expect(await said("request refused")).toMatchObject({ reason: expect.stringMatching(remedy) });
  });
});
