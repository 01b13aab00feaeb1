import { afterEach, expect, test } from "bun:test";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { killAfterTest } from "./support/children.ts";
import { folder } from "./support/folder.ts";

/** `.ci/audit` against a registry of our own: what it makes of an answer, and of none. */

const script = join(import.meta.dir, "../.ci/audit");

let registry: Bun.Server<undefined> | undefined;
afterEach(() => registry?.stop(true));

interface Asked {
  readonly code: number;
  readonly said: string;
}

/** Runs the audit with a registry that gives this answer to questions about advisories. */
async function audited(advisories: () => Response): Promise<Asked> {
  registry = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    // npm also asks which versions there are, of what is vulnerable.
    fetch: ({ method }) =>
      method === "POST"
        ? advisories()
        : Response.json({ name: "bun", versions: { [Bun.version]: { version: Bun.version } } }),
  });
  return audit(registry.url.href);
}

async function audit(url: string): Promise<Asked> {
  // Under its own name: what runs this may be called otherwise, and another Bun, or none, may be on the PATH.
  const bin = folder();
  symlinkSync(process.execPath, join(bin, "bun"));
  const child = Bun.spawn([script], {
    env: {
      HOME: bin,
      PATH: `${bin}:/usr/local/bin:/usr/bin:/bin`,
      npm_config_registry: url,
      npm_config_fetch_retries: "0",
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  killAfterTest(child);
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, said: stdout + stderr };
}

function advisory(name: string, severity: string): () => Response {
  return () =>
    Response.json({
      [name]: [
        { id: 1, url: "https://example.com/1", title: "a hole", severity, vulnerable_versions: "*", cwe: [], cvss: {} },
      ],
    });
}

const none = () => Response.json({});

test("nothing known: passes, and says so for the lock file and for Bun", async () => {
  const { code, said } = await audited(none);
  expect(said).toContain("audit of bun.lock: no known vulnerability of high severity");
  expect(said).toContain("audit of Bun: no known vulnerability of high severity");
  expect(code).toBe(0);
});

for (const [name, severity] of [
  ["jose", "high"],
  ["socket.io", "critical"],
  ["bun", "high"],
] as const) {
  test(`a known vulnerability of ${severity} severity in ${name} fails`, async () => {
    const { code, said } = await audited(advisory(name, severity));
    expect(said).toContain(`audit of ${name === "bun" ? "Bun" : "bun.lock"}: VULNERABLE`);
    expect(said).toContain("a hole");
    expect(code).toBe(1);
  });
}

test("one of moderate severity passes", async () => {
  expect(await audited(advisory("jose", "moderate"))).toMatchObject({ code: 0 });
});

const noSource: Readonly<Record<string, () => Response>> = {
  "refuses the question": () => new Response(null, { status: 405 }),
  "is broken": () => new Response(null, { status: 500 }),
  "answers with a page": () => new Response("<html>log in</html>"),
  "answers with nothing": () => new Response(""),
};
for (const [name, answer] of Object.entries(noSource)) {
  test(`a registry that ${name} is no source: said, and passed`, async () => {
    const { code, said } = await audited(answer);
    expect(said).toContain("audit of bun.lock: NOT DONE");
    expect(said).toContain("audit of Bun: NOT DONE");
    expect(said).not.toContain("no known");
    expect(code).toBe(0);
  });
}

test("a registry that nobody answers for is no source: said, and passed", async () => {
  const { code, said } = await audit("http://127.0.0.1:1/");
  expect(said.match(/NOT DONE/g)).toHaveLength(2);
  expect(code).toBe(0);
});
