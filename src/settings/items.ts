import type * as v from "valibot";
import { Settings } from "./schema.ts";
import type { About } from "./setting.ts";
import { nearest, type Place } from "./text.ts";
import { isTable } from "./values.ts";

/** A setting with all the names it goes by. */
export interface Item {
  /** As in the file: `keycloak.issuer`. */
  readonly path: string;
  /** Environment variables, of which the first that is set counts. */
  readonly variables: readonly string[];
  /** `--keycloak-issuer` */
  readonly flag: string;
  /** Its flag may stand alone. */
  readonly isSwitch: boolean;
  readonly schema: v.GenericSchema<unknown, unknown>;
  readonly fallback: unknown;
  readonly about: About<unknown>;
}

type Leaf = v.GenericSchema<unknown, unknown> & { readonly default: unknown; readonly about: About<unknown> };
type Entries = Readonly<Record<string, Leaf | { readonly entries: Readonly<Record<string, Leaf>> }>>;

const entries: Entries = Settings.entries;

export const items: readonly Item[] = Object.entries(entries).flatMap(([name, entry]) =>
  "about" in entry
    ? [itemOf(name, entry)]
    : Object.entries(entry.entries).map(([inner, leaf]) => itemOf(`${name}.${inner}`, leaf)),
);

/** Names of tables that have settings in them. */
export const groups: readonly string[] = Object.keys(entries).filter(
  (name) => !items.some(({ path }) => path === name),
);

function itemOf(path: string, leaf: Leaf): Item {
  const words = path.split(/[._]/);
  return {
    path,
    variables:
      leaf.about.fileOnly === true ? [] : [`AMPER_${words.join("_").toUpperCase()}`, ...(leaf.about.alsoReads ?? [])],
    flag: `--${words.join("-")}`,
    isSwitch: typeof leaf.default === "boolean",
    schema: leaf,
    fallback: leaf.default,
    about: leaf.about,
  };
}

/** Where the settings file is: not a setting itself, because the file cannot say it. */
export const configuration = {
  flag: "--config",
  variable: "AMPER_CONFIG",
  description: "settings file (TOML)",
} as const;

/** The setting that is meant by a misspelt name, whatever it was written as. */
export function nearestItem(name: string, candidates: readonly Item[] = items): Item | undefined {
  const path = nearest(
    name,
    candidates.map((item) => item.path),
  );
  return candidates.find((item) => item.path === path);
}

export function valueOf(settings: Settings, { path }: Item): unknown {
  return path.split(".").reduce<unknown>((table, key) => (isTable(table) ? table[key] : undefined), settings);
}

/** What the schema reads, made of what was given for each setting. */
export function nest(given: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const inTable = (prefix: string) =>
    Object.fromEntries(
      Array.from(given, ([path, value]) => [path, value] as const)
        .filter(([path]) => path.startsWith(prefix) && !path.slice(prefix.length).includes("."))
        .map(([path, value]) => [path.slice(prefix.length), value]),
    );
  return { ...inTable(""), ...Object.fromEntries(groups.map((group) => [group, inTable(`${group}.`)])) };
}

/** What a source says about a setting, and how to point at it there. */
export interface Given {
  readonly value: unknown;
  readonly name: (place: Place) => string;
}

/** What one source says about all settings, by path. */
export interface Layer {
  readonly given: ReadonlyMap<string, Given>;
  readonly problems: readonly string[];
}
