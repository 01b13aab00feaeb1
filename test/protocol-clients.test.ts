import { join } from "node:path";
import { expect, test } from "bun:test";
import { languages } from "./support/backends.ts";
import { launch } from "./support/binary.ts";
import { killAfterTest } from "./support/children.ts";
import { describeWith } from "./support/parts.ts";

/** The clients of the public protocol suites, whose habits are not those of stock clients. */

describeWith(languages["Node"] ?? { missing: "there is no Node" }, "node-fetch 3.2 and ws", () => {
  test("meet at each step of a connection what the protocols say", async () => {
    const { url } = await launch({ env: { AMPER_PING_INTERVAL_MS: "300", AMPER_PING_TIMEOUT_MS: "5000" } });
    const program = join(import.meta.dir, "clients/protocol.mjs");
    const child = Bun.spawn(["node", program, `${url}/socket.io/`], { stdio: ["ignore", "pipe", "pipe"] });
    killAfterTest(child);
    const [passed, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect([passed.trim().split("\n").at(-1), errors]).toEqual(["all", ""]);
  });
});
