import { expect, test } from "bun:test";
import { launch } from "./support/binary.ts";

/** What `serve --dev` says about who can reach it. */

const own = "reachable from this machine only";
const others = "reachable from other machines, too";

async function said(args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { lines, said: saying, kill, exited } = await launch({ args: ["serve", "--dev", ...args], env });
  await saying(/"keycloak":"alice","channel":"msf"/);
  kill("SIGTERM");
  expect(await exited).toBe(0);
  return lines.find((line) => line.includes("trial mode")) ?? "";
}

test("serve --dev says that only this machine reaches it where that is so", async () => {
  for (const args of [[], ["--host=127.0.0.1"], ["--host", "localhost"], ["--host=127.8.0.1"]]) {
    expect([args, await said(args)]).toEqual([args, expect.stringContaining(own)]);
  }
  // It listens on loopback whatever the environment says.
  expect(await said([], { AMPER_HOST: "0.0.0.0" })).toContain(own);
});

test("serve --dev warns where other machines reach it, too", async () => {
  for (const host of ["0.0.0.0", "::", "::0"]) {
    const line = await said([`--host=${host}`]);
    expect([host, line]).toEqual([host, expect.stringContaining(others)]);
    expect(line).toContain(`host ${host}`);
    expect(line).not.toContain(own);
  }
});
