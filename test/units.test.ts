import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { binary } from "./support/binary.ts";
import { folder } from "./support/folder.ts";
import { describeWith, type Part } from "./support/parts.ts";

/** What the README gives to those who run the service. */

const readme = await Bun.file(join(import.meta.dir, "../README.md")).text();
const analyze = Bun.which("systemd-analyze");
const systemd: Part = { missing: analyze === null ? "there is no systemd-analyze (Debian: systemd)" : undefined };

/** The block of this language that begins with this. */
function blockOf(language: string, begin: string): string {
  const blocks = [...readme.matchAll(/```(\w+)\n(.*?)```/gs)].filter(([, name, text]) => {
    return name === language && text?.startsWith(begin);
  });
  expect(blocks).toHaveLength(1);
  return blocks[0]?.[2] ?? "";
}

const unit = blockOf("ini", "# /etc/systemd/system/amper-channels.service");

describeWith(systemd, "the unit", () => {
  async function analyzed(...args: string[]): Promise<{ code: number; said: string }> {
    const path = join(folder(), "amper-channels.service");
    // Which is not installed here.
    writeFileSync(path, unit.replace("/usr/local/bin/amper-channels", await binary()));
    const { exitCode, stdout, stderr } = Bun.spawnSync([analyze ?? "", ...args, path]);
    return { code: exitCode, said: `${stdout.toString()}${stderr.toString()}` };
  }

  test("is one that systemd has nothing to say about", async () => {
    const { code, said } = await analyzed("verify");
    expect(said).not.toContain("amper-channels.service");
    expect(code).toBe(0);
  });

  test("exposes no more than 1.5 of 10", async () => {
    const { code, said } = await analyzed("security", "--offline=true", "--threshold=15");
    expect(said).toContain("Overall exposure level");
    expect(code).toBe(0);
  });
});

test("the unit reloads by SIGHUP, and lets code be compiled as it runs", () => {
  expect(unit).toContain("\nExecReload=kill -HUP $MAINPID\n");
  expect(unit).not.toContain("\nMemoryDenyWriteExecute=");
});

test("in the image the executable is process 1, and gets SIGTERM itself", () => {
  const image = blockOf("dockerfile", "FROM ");
  expect(image).toContain('\nENTRYPOINT ["/amper-channels"]\n');
  expect(image).toContain("\nSTOPSIGNAL SIGTERM\n");
});
