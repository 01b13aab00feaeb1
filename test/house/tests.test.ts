import { expect, test } from "bun:test";
import { join } from "node:path";
import { scripts } from "../../package.json";

/** The rules for tests. Each lists what breaks it, so that the fix is obvious. */
const root = join(import.meta.dir, "../..");

/** The lines that match in all tests and what they share, but for some files. */
async function linesWith(banned: RegExp, ...allowed: readonly string[]): Promise<string[]> {
  const paths = await Array.fromAsync(new Bun.Glob("test/**/*.ts").scan(root));
  const isTest = (path: string) => !/^test\/bench\/|\/node_modules\/|^test\/house\/tests\.test\.ts$/.test(path);
  const checked = paths.filter((path) => isTest(path) && !allowed.includes(path)).toSorted();
  const found = await Promise.all(
    checked.map(async (path) => {
      const lines = (await Bun.file(join(root, path)).text()).split("\n");
      return lines.flatMap((line, i) => (banned.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : []));
    }),
  );
  return found.flat();
}

test("one timeout is for all tests, and stands where it counts: with each `bun test`", async () => {
  const sources = { ...scripts, long: await Bun.file(join(root, ".ci/long")).text() };
  const found = Object.entries(sources).filter(([, text]) =>
    /(?:\bbun|\[@\]}") test(?=\s|$)(?! --timeout)/m.test(text),
  );
  expect(found).toEqual([]);
  expect(await linesWith(/^\s*\}, [\w.]+\);$|setDefaultTimeout|jest\.setTimeout/)).toEqual([]);
});

test("only `folder` makes temporary folders", async () => {
  expect(await linesWith(/mkdtemp|tmpdir/, "test/support/folder.ts")).toEqual([]);
});

test("nothing sleeps but what asks again and again, and what is at random on purpose", async () => {
  const polls = ["test/support/raw.ts", "test/flood.test.ts", "test/flood-bytes.test.ts"];
  const chaos = ["backends", "faults", "network", "pages"].map((name) => `test/chaos/${name}.ts`);
  expect(await linesWith(/\bsleep\(|setTimeout\(resolve/, ...polls, ...chaos)).toEqual([]);
});

test("the environment is read in few places", async () => {
  const allowed = ["scale", "random", "keycloak", "parts"].map((name) => `test/support/${name}.ts`);
  expect(await linesWith(/process\.env|Bun\.env/, ...allowed)).toEqual([]);
});
