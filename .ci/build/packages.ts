import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";

/** A package of which the executable has a part. */
export interface Package {
  /** Its place, as in bun.lock: `accepts/negotiator` is the one that only `accepts` uses. */
  readonly place: string;
  readonly name: string;
  readonly version: string;
  /** As SPDX writes it. */
  readonly license: string;
  /** SHA-512 of its archive, in base64. */
  readonly sha512: string;
  /** The places of the packages that it needs. */
  readonly needs: readonly string[];
  /** Its licence, and its notices. */
  readonly texts: readonly string[];
}

const Entry = v.looseTuple([
  v.string(),
  v.string(),
  v.object({ dependencies: v.optional(v.record(v.string(), v.string()), {}) }),
  v.pipe(v.string(), v.startsWith("sha512-")),
]);
const Lock = v.object({ packages: v.record(v.string(), v.unknown()) });
const Manifest = v.object({ version: v.string(), license: v.string() });
const SourceMap = v.object({ sources: v.array(v.string()) });

/** The packages that these files of a bundle are from. */
export async function shippedBy(files: readonly string[]): Promise<readonly Package[]> {
  const maps = files.filter((path) => path.endsWith(".js.map"));
  const inside = await Promise.all(maps.map(clientPackages));
  const places = new Set([...files.flatMap(placeOf), ...inside.flat()]);
  const { packages } = v.parse(Lock, Bun.JSONC.parse(await Bun.file("bun.lock").text()));
  return Promise.all(
    Array.from(places)
      .toSorted()
      .map((place) => read(place, packages, places)),
  );
}

/** `node_modules/accepts/node_modules/negotiator/index.js` → `accepts/negotiator` */
function placeOf(path: string): string[] {
  const [, ...names] = path.split("node_modules/").map((part) => /^(?:@[^/]+\/)?[^/]+/.exec(part)?.[0] ?? "");
  return names.length === 0 ? [] : [names.join("/")];
}

/** The client's files are bundles themselves, which lie in `socket.io` and are of other packages, as their source maps tell. */
async function clientPackages(map: string): Promise<string[]> {
  const { sources } = v.parse(SourceMap, await Bun.file(map).json());
  const folders: Readonly<Record<string, string>> = {
    build: "socket.io-client",
    "socket.io-component-emitter": "@socket.io/component-emitter",
  };
  return sources.map((source) => {
    const folder = source.replace(/^(?:\.\.\/)+(?:node_modules\/)?/, "").replace(/\/.*$/, "");
    return folders[folder] ?? folder;
  });
}

async function read(
  place: string,
  locked: Readonly<Record<string, unknown>>,
  places: ReadonlySet<string>,
): Promise<Package> {
  const [id, , { dependencies }, integrity] = v.parse(Entry, locked[place], { message: `${place} is not in bun.lock` });
  const folder = join("node_modules", place.replaceAll(/(?<!@[^/]*)\//g, "/node_modules/"));
  const { version, license } = v.parse(Manifest, await Bun.file(join(folder, "package.json")).json());
  const name = id.slice(0, id.lastIndexOf("@"));
  if (id !== `${name}@${version}`) {
    throw new Error(`${folder} has version ${version}, and bun.lock names ${id}: run bun install --frozen-lockfile`);
  }
  const files = (await readdir(folder)).filter((file) => /^(?:licen[cs]e|notice|copying)/i.test(file));
  // A package whose licence nobody can read must not slip in.
  if (files.length === 0) throw new Error(`${place} has no licence file`);
  return {
    place,
    name,
    version,
    license,
    sha512: integrity.slice("sha512-".length),
    needs: Object.keys(dependencies)
      .map((other) => (places.has(`${place}/${other}`) ? `${place}/${other}` : other))
      .filter((needed) => places.has(needed))
      .toSorted(),
    texts: await Promise.all(files.toSorted().map((file) => Bun.file(join(folder, file)).text())),
  };
}
