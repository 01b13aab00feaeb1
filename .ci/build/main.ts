/**
 * Makes the executable, and beside it what its users' auditors ask for: a list of what is in it (CycloneDX) and the checksums. The
 * same sources and the same Bun give the same bytes, in whichever folder they lie.
 */
import { rmSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import * as v from "valibot";
import { version } from "../../package.json";
import { runtimeOf } from "./bun.ts";
import { noticesOf } from "./notices.ts";
import { shippedBy } from "./packages.ts";
import { sbomOf } from "./sbom.ts";

const Target = v.optional(
  v.custom<Bun.Build.CompileTarget>(
    (given) => typeof given === "string" && /^bun-linux-(x64|arm64)(-musl)?$/.test(given),
    "must be bun-linux-x64, bun-linux-arm64, bun-linux-x64-musl or bun-linux-arm64-musl",
  ),
);

const root = join(import.meta.dir, "../..");
const { values } = parseArgs({
  options: { outfile: { type: "string", default: join(root, "dist/amper-channels") }, target: { type: "string" } },
});
const outfile = resolve(values.outfile);
const target = v.parse(Target, values.target);

// Bun names sources as they are seen from the working directory, and leaves a file of 100 MB there where it is interrupted.
process.chdir(root);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const rest of new Bun.Glob(".*.bun-build").scanSync({ cwd: root, dot: true })) rmSync(rest, { force: true });
    process.exit(1);
  });
}

const options = {
  entrypoints: ["src/main.ts"],
  target: "bun",
  format: "esm",
  // One part for each command.
  splitting: true,
  minify: true,
  sourcemap: "linked",
  metafile: true,
  // Bun writes the folder of each CommonJS file into the bundle: it means nothing on another machine, and tells of this one.
  define: { __dirname: '"/"', __filename: '"/"' },
} as const satisfies Partial<Bun.BuildConfig>;

const { metafile } = await Bun.build(options);
const packages = await shippedBy(Object.keys(metafile?.inputs ?? {}));
const runtime = runtimeOf(target);
const notices = await noticesOf(packages, runtime);

await mkdir(dirname(outfile), { recursive: true });
const { outputs } = await Bun.build({
  ...options,
  bytecode: true,
  compile: { outfile, autoloadDotenv: false, autoloadBunfig: false, ...(target && { target }) },
  plugins: [
    {
      name: "notices",
      setup: (build) =>
        void build.onLoad({ filter: /\/src\/commands\/notices\.txt$/ }, () => ({ contents: notices, loader: "file" })),
    },
  ],
});

// They are in the executable as well.
const maps = outputs.filter(({ path }) => path.endsWith(".map"));
await Promise.all(maps.map(({ path }) => rm(path)));

const sbom = `${outfile}.cdx.json`;
const program = { version, sha256: await sha256(outfile) };
await Bun.write(sbom, `${JSON.stringify(sbomOf(program, packages, runtime), undefined, 2)}\n`);
const made = [outfile, sbom];
const lines = await Promise.all(made.map(async (path) => `${await sha256(path)}  ${basename(path)}\n`));
await Bun.write(join(dirname(outfile), "SHA256SUMS"), lines.join(""));
process.stdout.write(`${made.join("\n")}\n`);

async function sha256(path: string): Promise<string> {
  return new Bun.CryptoHasher("sha256").update(await Bun.file(path).bytes()).digest("hex");
}
