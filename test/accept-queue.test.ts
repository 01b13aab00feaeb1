import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { widenAcceptQueue } from "../src/http/accept-queue.ts";
import { launch } from "./support/binary.ts";
import { describeWith, type Part } from "./support/parts.ts";
import { until } from "./support/raw.ts";

/** Everybody comes back at once: the kernel keeps their connections until the service takes them. */

const most = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
const kernel: Part = { missing: most < 4096 ? "the kernel's net.core.somaxconn is below 4096" : undefined };

/** Resolves when the kernel has opened it, which takes nothing of the service. */
function open(port: number, host: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => resolve(socket));
    socket.once("error", reject);
  });
}

describeWith(kernel, "the accept queue", () => {
  test.each([
    ["127.0.0.1", 1500],
    ["0.0.0.0", 3000],
    ["::1", 1500],
    ["::", 1500],
  ])("on %s keeps %i connections that come before one is taken", async (host, count) => {
    const { url, kill } = await launch({ env: { AMPER_HOST: host } });
    const port = Number(new URL(url).port);
    // A queue that is too short drops those that are left as long as this lasts.
    kill("SIGSTOP");
    const opening = Array.from({ length: count }, () => open(port, host));
    const sockets = await Promise.all(opening);
    kill("SIGCONT");
    let answered = 0;
    for (const socket of sockets) {
      socket.once("data", () => answered++);
      socket.write("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    await until("each is answered", () => answered === count);
    for (const socket of sockets) socket.destroy();
  });
});

const inNetwork = ["unshare", "--net", "sh", "-c"];
const shorten = 'echo 128 >/proc/sys/net/core/somaxconn && exec "$@"';
const canShorten = Bun.spawnSync([...inNetwork, shorten, "sh", "true"]).exitCode === 0;
const network: Part = { missing: canShorten ? undefined : "this machine lets nobody make a network namespace" };

describeWith(network, "a kernel that allows a short queue only", () => {
  test("is named in the log, with the remedy", async () => {
    const wrapper = [...inNetwork, shorten, "sh"];
    const { said } = await launch({ env: { AMPER_HOST: "0.0.0.0" }, wrapper });
    const line = await said(/"event":"short accept queue"/);
    expect(JSON.parse(line)).toMatchObject({ level: "warn", connections: 128 });
    expect(line).toContain("net.core.somaxconn");
  });
});

test("a port on which nobody listens is told, and harms nothing", () => {
  const told: string[] = [];
  const events = { acceptQueueShort() {}, acceptQueueUnchanged: (reason: string) => void told.push(reason) };
  widenAcceptQueue({ port: 1 }, events);
  expect(told).toEqual([expect.stringContaining("port 1")]);
});
