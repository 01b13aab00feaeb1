import * as v from "valibot";
import lock from "../bun/package-lock.json";

/** The Bun that the executable runs on: most of its bytes. */
export interface Runtime {
  readonly version: string;
  /** Its commit. */
  readonly revision: string;
  /** Of the archive with its executable, for the target, as the lock file of `.ci/bun` pins it. */
  readonly executable: Archive;
  /** Of the package that chooses one of them. */
  readonly chooser: Archive;
}

interface Archive {
  readonly name: string;
  /** In base64. */
  readonly sha512: string;
}

const Lock = v.record(
  v.string(),
  v.object({ version: v.string(), integrity: v.pipe(v.string(), v.startsWith("sha512-")) }),
);

/** @param target as Bun names it; undefined: this machine. */
export function runtimeOf(target: string = thisMachine()): Runtime {
  const { "": _, ...packages } = lock.packages;
  const locked = v.parse(Lock, packages);
  function archive(name: string): Archive {
    const found = locked[`node_modules/${name}`];
    // Another one would have another digest, and perhaps other libraries.
    if (found?.version !== Bun.version) throw new Error(`.ci/bun/package-lock.json has no ${name} ${Bun.version}`);
    return { name, sha512: found.integrity.slice("sha512-".length) };
  }
  return {
    version: Bun.version,
    revision: Bun.revision,
    executable: archive(`@oven/${target.replace("arm64", "aarch64")}`),
    chooser: archive("bun"),
  };
}

function thisMachine(): string {
  const isMusl =
    process.platform === "linux" && !JSON.stringify(process.report.getReport()).includes("glibcVersionRuntime");
  return `bun-${process.platform}-${process.arch}${isMusl ? "-musl" : ""}`;
}
