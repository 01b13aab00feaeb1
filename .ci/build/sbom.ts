import { dependencies } from "../../package.json";
import { licenses } from "./libraries.ts";
import type { Runtime } from "./bun.ts";
import type { Package } from "./packages.ts";

interface Program {
  readonly version: string;
  /** Of the executable, in hex. */
  readonly sha256: string;
}

/** Namespace of the serial numbers (RFC 9562 5.5): the same bytes have the same number, and no others. */
const namespace = "5a4f1f5e-0b0c-4a52-9d0b-6a0e6a0a7d51";

/** What is in the executable, as CycloneDX 1.6 writes it (https://cyclonedx.org/docs/1.6/json). Without a time: it would differ. */
export function sbomOf({ version, sha256 }: Program, packages: readonly Package[], runtime: Runtime) {
  const self = purl("amper-channels", version, "generic");
  const platform = { version: runtime.version, license: licenses.join(" AND "), type: "platform" } as const;
  const chooser = componentOf({ ...runtime.chooser, ...platform });
  const executable = componentOf({ ...runtime.executable, ...platform });
  // Of the same version in two places there is one component.
  const distinct = new Map(packages.map((shipped) => [purl(shipped.name, shipped.version), shipped]));
  const refs = new Map(packages.map(({ place, name, version: of }) => [place, purl(name, of)]));
  const refsOf = (places: readonly string[]) => places.flatMap((place) => refs.get(place) ?? []);
  const needed = new Set(packages.flatMap(({ needs }) => needs));
  // The client's files are imported without being a dependency of ours.
  const own = packages.filter(({ place }) => Object.hasOwn(dependencies, place) || !needed.has(place));
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${Bun.randomUUIDv5(sha256, namespace)}`,
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": self,
        name: "amper-channels",
        version,
        purl: self,
        licenses: licensed("MIT"),
        hashes: [{ alg: "SHA-256", content: sha256 }],
      },
    },
    components: [
      ...Array.from(distinct.values(), (shipped) => componentOf({ ...shipped, type: "library" })),
      chooser,
      executable,
    ],
    dependencies: [
      { ref: self, dependsOn: [...refsOf(own.map(({ place }) => place)), chooser.purl] },
      ...Array.from(distinct, ([ref, { needs }]) => ({ ref, dependsOn: refsOf(needs) })),
      { ref: chooser.purl, dependsOn: [executable.purl] },
      { ref: executable.purl },
    ],
  };
}

interface Described extends Pick<Package, "name" | "version" | "license" | "sha512"> {
  readonly type: "library" | "platform";
}

function componentOf({ name, version, license, sha512, type }: Described) {
  return {
    type,
    "bom-ref": purl(name, version),
    name,
    version,
    purl: purl(name, version),
    licenses: licensed(license),
    // Of the archive in which it comes.
    hashes: [{ alg: "SHA-512", content: Buffer.from(sha512, "base64").toString("hex") }],
  };
}

/** https://github.com/package-url/purl-spec: the @ of a scope is escaped, its slash is not. */
function purl(name: string, version: string, type = "npm"): string {
  return `pkg:${type}/${name.split("/").map(encodeURIComponent).join("/")}@${version}`;
}

function licensed(expression: string) {
  return / (?:AND|OR|WITH) /.test(expression) ? [{ expression }] : [{ license: { id: expression } }];
}
