import { describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { JsonStrictValidator } from "@cyclonedx/cyclonedx-library/Validation";
import { Version } from "@cyclonedx/cyclonedx-library/Spec";
import * as v from "valibot";
import { version } from "../package.json";
import { binary, run } from "./support/binary.ts";
import { killAfterTest } from "./support/children.ts";
import { folder } from "./support/folder.ts";

/** What the build says about what is in the executable, compared with the source maps of the same code. */

const root = join(import.meta.dir, "..");

const SourceMap = v.object({ sources: v.array(v.string()) });
const Sbom = v.object({
  serialNumber: v.string(),
  metadata: v.object({ component: v.object({ hashes: v.array(v.object({ content: v.string() })) }) }),
  components: v.array(
    v.object({
      name: v.string(),
      version: v.string(),
      purl: v.string(),
      licenses: v.array(v.unknown()),
      hashes: v.array(v.object({ alg: v.literal("SHA-512"), content: v.pipe(v.string(), v.regex(/^[0-9a-f]{128}$/)) })),
    }),
  ),
});
const Manifest = v.object({ name: v.string(), version: v.string() });

/** The folders of the packages that have a part in the executable. */
async function folders(): Promise<string[]> {
  const { outputs } = await Bun.build({
    entrypoints: [join(root, "src/main.ts")],
    target: "bun",
    splitting: true,
    minify: true,
    sourcemap: "external",
  });
  const maps = outputs.filter(({ kind }) => kind === "sourcemap");
  const sources = await Promise.all(maps.map(async (map) => v.parse(SourceMap, await map.json()).sources));
  const bundled = sources
    .flat()
    .flatMap((path) => /node_modules\/(?:.*node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  // No source map tells of them: the client's files are embedded as they are, and a table of media types is JSON.
  const client = ["socket.io-client", "engine.io-client", "engine.io-parser", "socket.io-parser", "debug", "ms"];
  const embedded = [...client, "@socket.io/component-emitter", "mime-db"].map((name) => `node_modules/${name}`);
  return [...new Set([...bundled, ...embedded])].toSorted();
}

interface Part {
  readonly folder: string;
  readonly name: string;
  readonly version: string;
}

async function parts(): Promise<Part[]> {
  return Promise.all(
    (await folders()).map(async (path) => {
      const { name, version: of } = v.parse(Manifest, await Bun.file(join(root, path, "package.json")).json());
      return { folder: path, name, version: of };
    }),
  );
}

async function sbom(): Promise<v.InferOutput<typeof Sbom>> {
  return v.parse(Sbom, await Bun.file(`${await binary()}.cdx.json`).json());
}

describe("licenses", () => {
  test("prints the licence of each package in the executable, of Bun, and of what is in Bun", async () => {
    const { code, stdout, stderr } = await run(["licenses"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const packages = await parts();
    expect(packages.length).toBeGreaterThan(30);
    const texts = await Promise.all(
      packages.map(async ({ folder: path, name, version: of }) => {
        const [license = ""] = await Array.fromAsync(new Bun.Glob("{LICENSE,license}*").scan(join(root, path)));
        const text = await Bun.file(join(root, path, license)).text();
        return [`\n${name} ${of}: `, text.trim().replaceAll("\r\n", "\n")];
      }),
    );
    const ofBun = ["GNU LESSER GENERAL PUBLIC LICENSE", "GNU LIBRARY GENERAL PUBLIC LICENSE", "Apache License"];
    const wanted = [`AMPER Channels ${version}: MIT`, `\nBun ${Bun.version}: MIT`, ...texts.flat(), ...ofBun];
    expect(wanted.filter((text) => !stdout.includes(text))).toEqual([]);
  });

  test("ends quietly where its reader has seen enough", async () => {
    const child = Bun.spawn(["sh", "-c", '{ "$0" licenses; echo $? >&2; } | head -n 2', await binary()], {
      stdout: "pipe",
      stderr: "pipe",
    });
    killAfterTest(child);
    expect(await child.stdout.text()).toContain(`AMPER Channels ${version}: MIT`);
    expect(await child.stderr.text()).toBe("0\n");
  });

  test("is a command like the others: --help, and 2 for what it does not take", async () => {
    expect(await run(["licenses", "--help"])).toMatchObject({ code: 0, stderr: "" });
    expect(await run(["licenses", "all"])).toMatchObject({ code: 2, stdout: "" });
  });
});

describe("the list of components", () => {
  test("is CycloneDX 1.6 by its strict schema", async () => {
    const text = await Bun.file(`${await binary()}.cdx.json`).text();
    expect(await new JsonStrictValidator(Version.v1dot6).validate(text)).toBeNull();
  });

  test("has what is in the executable, and nothing else", async () => {
    const { components } = await sbom();
    const packages = (await parts()).map(({ name, version: of }) => `${name} ${of}`);
    const bun = [`bun ${Bun.version}`, expect.stringMatching(new RegExp(`^@oven/bun-[a-z0-9-]+ ${Bun.version}$`))];
    expect(components.map(({ name, version: of }) => `${name} ${of}`).toSorted()).toEqual(
      expect.arrayContaining([...packages, ...bun]),
    );
    expect(components).toHaveLength(packages.length + bun.length);
  });

  test("has the digests of bun.lock, and names each package as scanners do", async () => {
    const lock = await Bun.file(join(root, "bun.lock")).text();
    const { components } = await sbom();
    for (const { name, version: of, purl, hashes, licenses } of components) {
      expect(purl).toBe(`pkg:npm/${name.replace("@", "%40")}@${of}`);
      expect(licenses).toHaveLength(1);
      const integrity = `sha512-${Buffer.from(hashes[0]?.content ?? "", "hex").toString("base64")}`;
      const pinned = /^(?:bun$|@oven\/)/.test(name)
        ? await Bun.file(join(root, ".ci/bun/package-lock.json")).text()
        : lock;
      expect(pinned).toContain(`"${integrity}"`);
    }
  });

  test("is about these bytes", async () => {
    const digest = new Bun.CryptoHasher("sha256").update(await Bun.file(await binary()).bytes()).digest("hex");
    expect((await sbom()).metadata.component.hashes).toEqual([{ content: digest }]);
  });
});

test("the checksums are those of the files beside them", async () => {
  const check = Bun.spawnSync(["sha256sum", "--check", "--strict", "SHA256SUMS"], { cwd: dirname(await binary()) });
  expect(check.stdout.toString().split("\n").toSorted()).toEqual([
    "",
    "amper-channels.cdx.json: OK",
    "amper-channels: OK",
  ]);
});

test("a build in another folder gives the same bytes", async () => {
  const other = join(folder(), "a folder with another name");
  for (const part of ["src", ".ci", "package.json", "bun.lock", "bunfig.toml", "tsconfig.json", "LICENSE"]) {
    cpSync(join(root, part), join(other, part), {
      recursive: true,
      filter: (from) => basename(from) !== "node_modules",
    });
  }
  const install = Bun.spawnSync([process.execPath, "install", "--frozen-lockfile"], { cwd: other, stderr: "pipe" });
  expect({ code: install.exitCode, stderr: install.exitCode === 0 ? "" : install.stderr.toString() }).toEqual({
    code: 0,
    stderr: "",
  });
  const build = Bun.spawnSync([process.execPath, ".ci/build/main.ts"], { cwd: other });
  expect(build.exitCode).toBe(0);
  const sums = await Promise.all(
    [join(other, "dist"), dirname(await binary())].map((at) => Bun.file(join(at, "SHA256SUMS")).text()),
  );
  expect(sums[0]).toBe(sums[1] ?? "");
});
