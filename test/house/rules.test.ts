import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";

/** The rules of the house that no compiler knows. Each lists what breaks it, so that the fix is obvious. */
const root = join(import.meta.dir, "../..");
const sources = await read("src/**/*.ts");

interface Source {
  readonly path: string;
  readonly text: string;
}

async function read(pattern: string): Promise<Source[]> {
  const paths = await Array.fromAsync(new Bun.Glob(pattern).scan(root));
  return Promise.all(paths.toSorted().map(async (path) => ({ path, text: await Bun.file(join(root, path)).text() })));
}

function importsOf({ path, text }: Source): string[] {
  return [...text.matchAll(/^(?:import|export)[^;]*?from "(\.[^"]+)"/gms)].map(([, to = ""]) =>
    normalize(join(dirname(path), to)),
  );
}

/** `src/http/cors.ts` → `http`; what lies in `src` itself, or joins the rooms, belongs to none. */
function roomOf(path: string): string | undefined {
  return /^src\/(?!service\/)([^/]+)\/.+/.exec(path)?.[1];
}

function offenders(
  files: readonly Source[],
  banned: RegExp,
  allowed: (path: string) => boolean = () => false,
): string[] {
  return files
    .filter(({ path }) => !allowed(path) && path !== "test/house/rules.test.ts")
    .flatMap(({ path, text }) =>
      text.split("\n").flatMap((line, i) => (banned.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
    );
}

test("a room imports the model and itself, and no other room", () => {
  const found = sources.flatMap((source) => {
    const room = roomOf(source.path);
    if (room === undefined || room === "commands") return [];
    return importsOf(source)
      .filter((to) => roomOf(to) !== room && roomOf(to) !== "model" && to.startsWith("src/"))
      .map((to) => `${source.path} imports ${to}`);
  });
  expect(found).toEqual([]);
});

test("a command imports the service, the settings, the model and the log, and no other room", () => {
  const found = sources
    .filter(({ path }) => roomOf(path) === "commands")
    .flatMap((source) =>
      importsOf(source)
        .filter((to) => !/^src\/(commands|settings|model)\/|^src\/(service|version|observe\/log)\.ts$/.test(to))
        .map((to) => `${source.path} imports ${to}`),
    );
  expect(found).toEqual([]);
});

test("the model imports nothing but valibot", () => {
  const model = sources.filter(({ path }) => roomOf(path) === "model");
  expect(offenders(model, /from "(?!valibot"|\.\/)/)).toEqual([]);
});

test("only service/ chooses a journal", () => {
  const found = sources
    .filter(({ path }) => !path.startsWith("src/service") && roomOf(path) !== "journal")
    .flatMap((source) => importsOf(source).filter((to) => to.startsWith("src/journal/")));
  expect(found).toEqual([]);
});

test("only settings/ reads the environment, only main.ts exits", () => {
  expect(offenders(sources, /process\.env|Bun\.env/, (path) => path.startsWith("src/settings/"))).toEqual([]);
  expect(offenders(sources, /process\.exit\b/, (path) => path === "src/main.ts")).toEqual([]);
});

test("no file is longer than 250 lines", () => {
  const long = sources.filter(({ text }) => text.split("\n").length > 250).map(({ path }) => path);
  expect(long).toEqual([]);
});

test("rooms are given their clock and their randomness", () => {
  const rooms = sources.filter(({ path }) => /^src\/(connections|journal|limits|notify)\//.test(path));
  expect(offenders(rooms, /Date\.now\(\)|Math\.random\(\)|new Date\(\)/)).toEqual([]);
});
