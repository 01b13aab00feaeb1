import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";

/** The rules of the house that no compiler knows. Each lists what breaks it, so that the fix is obvious. */
const root = join(import.meta.dir, "../..");
const sources = await read("src/**/*.ts");
const tests = await read("test/**/*.ts");

/**
 * For each room, the rooms that it may import: only rooms above it in this table, so that imports point one way. A file of
 * `src` itself is a room of its own.
 */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  version: [],
  signals: [],
  model: [],
  settings: ["model"],
  observe: ["model"],
  clock: ["model", "observe"],
  limits: ["model", "settings", "observe"],
  journal: ["model", "settings", "observe", "clock"],
  tls: ["settings", "observe", "clock", "journal"],
  authorize: ["model", "settings", "observe", "clock", "limits"],
  connections: ["model", "settings", "observe", "clock", "limits", "journal", "authorize"],
  delivery: ["model", "clock", "journal", "authorize", "connections"],
  revocations: ["model", "settings", "observe", "clock", "limits", "journal", "authorize", "delivery"],
  notify: ["model", "settings", "observe", "limits", "journal", "authorize"],
  inspection: ["settings", "journal", "tls", "authorize"],
  gauges: ["observe", "clock", "limits", "journal", "tls", "authorize", "connections", "revocations"],
  http: [
    "model",
    "settings",
    "observe",
    "clock",
    "limits",
    "journal",
    "tls",
    "authorize",
    "connections",
    "revocations",
    "notify",
  ],
  service: [
    "version",
    "settings",
    "observe",
    "clock",
    "limits",
    "journal",
    "tls",
    "authorize",
    "connections",
    "delivery",
    "revocations",
    "notify",
    "gauges",
    "http",
  ],
  commands: ["version", "signals", "model", "settings", "observe", "tls", "inspection", "service"],
  main: ["version", "signals", "commands"],
};

interface Source {
  readonly path: string;
  readonly text: string;
}

async function read(pattern: string): Promise<Source[]> {
  const paths = await Array.fromAsync(new Bun.Glob(pattern).scan(root));
  const own = paths.filter((path) => !path.includes("/node_modules/")).toSorted();
  return Promise.all(own.map(async (path) => ({ path, text: await Bun.file(join(root, path)).text() })));
}

function importsOf({ path, text }: Source): string[] {
  const named = [
    ...text.matchAll(/^(?:import|export)[^;]*?from "(\.[^"]+)"/gms),
    ...text.matchAll(/\bimport\("(\.[^"]+)"\)/g),
  ];
  return named.map(([, to = ""]) => normalize(join(dirname(path), to)));
}

/** `src/http/cors.ts` → `http`, `src/delivery.ts` → `delivery`. */
function roomOf(path: string): string {
  return /^src\/([^/]+?)(?:\.ts|\/.+)$/.exec(path)?.[1] ?? path;
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

test("the table of rooms points one way, and names every room", () => {
  const rooms = Object.keys(mayImport);
  const backwards = Object.entries(mayImport).flatMap(([room, others], place) =>
    others.filter((other) => !rooms.slice(0, place).includes(other)).map((other) => `${room} names ${other}`),
  );
  expect(backwards).toEqual([]);
  expect([...new Set(sources.map(({ path }) => roomOf(path)))].toSorted()).toEqual(rooms.toSorted());
});

test("a room imports only the rooms that the table names for it", () => {
  const found = sources.flatMap((source) => {
    const room = roomOf(source.path);
    return importsOf(source)
      .filter((to) => to.startsWith("src/") && roomOf(to) !== room && mayImport[room]?.includes(roomOf(to)) !== true)
      .map((to) => `${source.path} imports ${to}`);
  });
  expect(found).toEqual([]);
});

test("every entry of the table is used", () => {
  const used = new Set(
    sources.flatMap((source) => importsOf(source).map((to) => `${roomOf(source.path)} ${roomOf(to)}`)),
  );
  const idle = Object.entries(mayImport).flatMap(([room, others]) =>
    others.map((other) => `${room} ${other}`).filter((arrow) => !used.has(arrow)),
  );
  expect(idle).toEqual([]);
});

test("the model imports nothing but valibot", () => {
  const model = sources.filter(({ path }) => roomOf(path) === "model");
  expect(offenders(model, /from "(?!valibot"|\.\/)/)).toEqual([]);
});

test("only service.ts chooses a journal", () => {
  const found = sources
    .filter(({ path }) => path !== "src/service.ts" && roomOf(path) !== "journal")
    .flatMap((source) => importsOf(source).filter((to) => /^src\/journal\/(memory|sqlite)/.test(to)));
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
  const rooms = sources.filter(({ path }) => /^src\/(clock|connections|journal|limits|notify)\//.test(path));
  expect(offenders(rooms, /Date\.now\(\)|Math\.random\(\)|new Date\(\)/)).toEqual([]);
});

test("files are named in kebab-case", () => {
  const others = [...sources, ...tests].map(({ path }) => path).filter((path) => !/^[a-z0-9./-]+\.ts$/.test(path));
  expect(others).toEqual([]);
});

test("a unit is a suffix with an underscore: limit_bytes, every_ms, wait_seconds", () => {
  // `randomBytes` is a function of node:crypto.
  const camelCase = /\b(?!randomBytes\b)[a-z]\w*[a-z](Bytes|KiB|MiB|Ms|Millis|Seconds|Minutes|Hours|Days)\b/;
  expect(offenders(sources, camelCase)).toEqual([]);
});

test("no pure forwarding: what a room needs it takes as the object that it is", () => {
  expect(offenders(sources, /\w+: \((\w*)\) => needs\.\w+\(\1\)/)).toEqual([]);
});
