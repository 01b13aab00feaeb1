import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../package.json";
import { connected, next, notify, transports } from "./support/client.ts";
import { binary, env, launch, run, spawn } from "./support/binary.ts";
import { certificate } from "./support/certificate.ts";
import { folder } from "./support/folder.ts";
import { apiKey, wsToken } from "./support/service.ts";

describe("the executable", () => {
  for (const [name, options] of Object.entries(transports)) {
    test(`does the plain flow, ${name}`, async () => {
      const { url } = await launch();
      const alice = await connected(url, "alice", "msf", options);
      for (const body of [{ channel: "msf" }, { keycloak: "alice" }, { keycloak: "alice", channel: "msf" }]) {
        expect(await notify(url, { msg: body, ...body })).toMatchObject({ connections: 1 });
      }
      expect(await alice.count(3)).toHaveLength(3);
      expect((await fetch(`${url}/socket.io/socket.io.min.js`)).status).toBe(200);
    });
  }

  test("takes nothing out of a hostile working directory, as an unprivileged user, on a read-only file system", async () => {
    const cwd = folder();
    writeFileSync(
      join(cwd, ".env"),
      "AMPER_API_KEYS=evil=evil-key-0123456789\nAMPER_PORT=1\nBUN_CONFIG_VERBOSE_FETCH=1\n",
    );
    writeFileSync(join(cwd, "evil.ts"), "throw new Error('preloaded');");
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./evil.ts"]\n[define]\n"Date.now" = "0"\n');
    writeFileSync(join(cwd, "package.json"), "{ this is not JSON");
    // A mount namespace in which nothing can be written, and a user who owns nothing.
    const remount =
      'mount -o remount,bind,ro / && exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$@"';
    const canIsolate =
      Bun.spawnSync(["unshare", "-m", "sh", "-c", "mount --bind / / && mount -o remount,bind,ro /"]).exitCode === 0;
    if (!canIsolate) process.stderr.write("not isolated: this machine lets nobody make a mount namespace\n");
    const wrapper = canIsolate
      ? ["unshare", "-m", "sh", "-c", `mount --bind / / && cd '${cwd}' && ${remount}`, "sh"]
      : [];
    const { url } = await launch({ cwd, wrapper });
    const response = await fetch(`${url}/notify`, {
      method: "POST",
      body: '{"API_KEY":"evil-key-0123456789","msg":1,"channel":"msf"}',
    });
    expect(response.status).toBe(401);
    const alice = await connected(url, "alice", "msf");
    await notify(url, { msg: "hello", keycloak: "alice" });
    expect(await alice.count(1)).toEqual(["hello"]);
  });

  test("writes JSON lines, one per notable event, with no secret, token or message in them", async () => {
    const { url, lines, kill, exited } = await launch({ env: { AMPER_LOG_LEVEL: "debug" } });
    const { socket } = await connected(url, "alice", "msf");
    const token =
      "auth" in socket && typeof socket.auth === "object" && "token" in socket.auth ? socket.auth["token"] : "";
    await notify(url, { msg: "very private", keycloak: "alice" });
    await fetch(`${url}/notify`, { method: "POST", headers: { "X-API-Key": "guessed-key" }, body: "{}" });
    await fetch(`${url}/authorize?token=query-token`, { headers: { Authorization: "Bearer guessed-token" } });
    kill("SIGTERM");
    expect(await exited).toBe(0);
    const events = lines.map((line) => JSON.parse(line).event);
    expect(JSON.parse(lines[0] ?? "{}").level).toBe("info");
    for (const event of ["listening", "connected", "notified", "request refused", "draining", "stopped"]) {
      expect(events).toContain(event);
    }
    for (const secret of [
      apiKey,
      wsToken,
      String(token || wsToken),
      "very private",
      "guessed-key",
      "guessed-token",
      "query-token",
    ]) {
      expect(lines.join("\n")).not.toContain(secret);
    }
  });
});

/** A process, and its successor, which waits for its journal. */
async function launchTwo(environment: Record<string, string>) {
  const common = { ...environment, AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` };
  const first = await launch({ env: common });
  const successor = await spawn({ env: common });
  await successor.said(/waiting for the journal/);
  return { first, successor };
}

describe("signals", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal}: not ready, clients are told and sent away over drain_seconds, exit 0`, async () => {
      const { first, successor } = await launchTwo({ AMPER_DRAIN_SECONDS: "2" });
      const { url, kill, exited } = first;
      const pages = await Promise.all(
        ["a", "b", "c", "d"].map((user) => connected(url, user, "msf", { transports: ["websocket"] })),
      );
      const farewells = pages.map(({ socket }) => next(socket, "closing"));
      kill(signal);
      await Promise.race(farewells);
      // Spread over the two seconds, not all in one moment: the last is not told yet when the first is.
      expect(pages.filter(({ socket }) => socket.connected).length).toBeGreaterThan(0);
      const draining = { code: "draining", reconnect: true };
      expect(await Promise.all(farewells)).toEqual(pages.map(() => draining));
      expect(await exited).toBe(0);
      await expect(fetch(`${url}/health/live`)).rejects.toThrow();
      await successor.said(/"event":"listening"/);
    });
  }

  test("a second one exits at once", async () => {
    const { url, kill, exited, lines } = (await launchTwo({ AMPER_DRAIN_SECONDS: "3600" })).first;
    const pages = await Promise.all(
      ["a", "b"].map((user) => connected(url, user, "msf", { transports: ["websocket"] })),
    );
    const told = Promise.race(pages.map(({ socket }) => next(socket, "closing")));
    kill("SIGTERM");
    await told;
    kill("SIGTERM");
    expect(await exited).toBe(1);
    expect(lines.join("\n")).toContain("stopping at once");
  });
});

test("a reader of its log that is gone stops neither the service nor its end", async () => {
  const child = Bun.spawn([await binary()], {
    env: { ...env, AMPER_PORT: "0", AMPER_LOG_LEVEL: "debug" },
    stdout: "pipe",
  });
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const url = /"url":"([^"]+)"/.exec(new TextDecoder().decode(value))?.[1] ?? "";
  await reader.cancel();
  const alice = await connected(url, "alice", "msf");
  for (let i = 0; i < 20; i++) await notify(url, { msg: i, keycloak: "alice" });
  expect(await alice.count(20)).toHaveLength(20);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
});

describe("TLS", () => {
  test("by tls_cert and tls_key", async () => {
    const { cert, key } = certificate();
    const { url } = await launch({ env: { AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key } });
    expect(url).toStartWith("https://");
    const response = await fetch(`${url}/health/live`, { tls: { rejectUnauthorized: false } });
    expect(response.status).toBe(200);
  });
});

describe("commands", () => {
  test("--version and --help, for all and for each", async () => {
    expect((await run(["--version"])).stdout).toBe(`${version}\n`);
    const { stdout } = await run(["--help"]);
    for (const name of ["serve", "check", "key"]) {
      expect(stdout).toContain(`  ${name} `);
      expect(await run([name, "--help"])).toMatchObject({ code: 0, stderr: "" });
    }
  });

  test("what is not there is a usage error: 2, with a hint", async () => {
    expect(await run(["nonsense"])).toMatchObject({ code: 2, stderr: expect.stringContaining("Usage:") });
    expect(await run(["serve", "--prot", "1"])).toMatchObject({ code: 2, stderr: expect.stringContaining("--port") });
  });

  test("serve without keys, or without a way to authorize, says how to get one", async () => {
    const { code, stderr } = await run(["serve"]);
    expect(code).toBe(1);
    expect(stderr).toContain("AMPER_API_KEYS");
    expect(stderr).toContain("AMPER_WS_TOKENS");
    expect(stderr).toContain("serve --dev");
  });

  test("serve lists every bad setting at once", async () => {
    const bad = { ...env, AMPER_PORT: "70000", AMPER_TOKEN_SECRET: "short", AMPER_LOG_LEVEL: "loud" };
    const { code, stderr } = await run([], { env: bad });
    expect(code).toBe(1);
    for (const name of ["AMPER_PORT", "AMPER_TOKEN_SECRET", "AMPER_LOG_LEVEL"]) expect(stderr).toContain(name);
    expect(stderr).not.toContain("short\n");
  });

  test("serve on a port that is taken says so", async () => {
    const { url } = await launch();
    const { code, stderr } = await run([], { env: { ...env, AMPER_PORT: new URL(url).port } });
    expect(code).toBe(1);
    expect(stderr).toContain("is in use");
  });

  test("serve --dev prints a URL, keys, and curl lines that work", async () => {
    const { url, lines, said } = await launch({
      args: ["serve", "--dev"],
      env: { AMPER_API_KEYS: "", AMPER_WS_TOKENS: "" },
    });
    await said(/"keycloak":"alice","channel":"msf"/);
    expect(url).toContain("127.0.0.1");
    const curls = lines.filter((line) => line.trim().startsWith("curl "));
    expect(curls).toHaveLength(4);
    for (const line of curls) {
      const { stdout, exitCode } = Bun.spawnSync(["sh", "-c", `${line} -fsS`]);
      expect(exitCode).toBe(0);
      expect(Object.keys(JSON.parse(stdout.toString()))).toContain(line.includes("/authorize") ? "token" : "id");
    }
  });
});
