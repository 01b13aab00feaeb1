import * as v from "valibot";
import { didYouMean, type Doubt } from "./messages.ts";

/** What the schema says about a setting besides its values. Environment variable and flag follow from its name. */
export interface About<T> {
  readonly description: string;
  /** The value may be shown. A setting without this mark is a secret: a forgotten mark hides, it never leaks. */
  readonly public?: true;
  readonly fileOnly?: true;
  /** A repeated flag adds to the list. */
  readonly list?: true;
  /**
   * What a source says is a secret in the clear. Without it, every value of a setting that is not public is one.
   */
  isSecret?(given: unknown): boolean;
  /** Environment variables that are read if the setting's own variable is not set. */
  readonly alsoReads?: readonly string[];
  /** The part of a value that may be shown, if not the value itself. */
  show?(value: T): string;
  /** Warnings about an allowed value. `given` is the value as its source has it. */
  doubts?(value: T, given: unknown): readonly Doubt[];
}

type AnySchema = v.GenericSchema<unknown, unknown>;

export function setting<S extends AnySchema, const D extends v.Default<S, undefined>>(
  schema: S,
  fallback: D,
  about: About<v.InferOutput<S>>,
) {
  return Object.assign(v.optional(schema, fallback), { about });
}

export function optional<S extends AnySchema>(schema: S, about: About<v.InferOutput<S>>) {
  return Object.assign(v.exactOptional(schema), { about, default: undefined });
}

type Table = Readonly<Record<string, unknown>>;

/** A table as TOML gives it: not a list, and not one of TOML's dates and times. */
export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** A table of the file. Each unknown name and each missing name is a problem of its own. */
export function table<const T extends v.ObjectEntries>(entries: T) {
  const known = v.object(entries, "is missing");
  return v.pipe(
    v.custom<Table>(isTable, "must be a table"),
    v.rawTransform<Table, v.InferOutput<typeof known>>(({ dataset, addIssue, NEVER }) => {
      const { success, output, issues } = v.safeParse(known, dataset.value, { abortPipeEarly: true });
      for (const { message, input, path } of issues ?? []) addIssue({ message, input, ...(path && { path }) });
      const strangers = Object.keys(dataset.value).filter((name) => !Object.hasOwn(entries, name));
      for (const name of strangers) {
        addIssue({ message: `is not a known name${didYouMean(name, Object.keys(entries))}`, path: [pathItem(name)] });
      }
      return success && strangers.length === 0 ? output : NEVER;
    }),
  );
}

export function pathItem(key: string | number) {
  return { type: "unknown", origin: "value", input: undefined, key, value: undefined } as const;
}

/** A setting with all its names. */
export interface Item {
  /** As in the file: `keycloak.issuer`. */
  readonly path: string;
  /** Environment variables: the first one that is set counts. */
  readonly variables: readonly string[];
  /** `--keycloak-issuer` */
  readonly flag: string;
  /** The flag may stand alone. */
  readonly isSwitch: boolean;
  readonly schema: AnySchema;
  readonly fallback: unknown;
  readonly about: About<unknown>;
}

type Leaf = AnySchema & { readonly default: unknown; readonly about: About<unknown> };
export type Entries = Readonly<Record<string, Leaf | { readonly entries: Readonly<Record<string, Leaf>> }>>;

export function itemsOf(entries: Entries): readonly Item[] {
  return Object.entries(entries).flatMap(([name, entry]) =>
    "about" in entry
      ? [itemOf(name, entry)]
      : Object.entries(entry.entries).map(([inner, leaf]) => itemOf(`${name}.${inner}`, leaf)),
  );
}

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

/** The value of a setting, or undefined if it has none. */
export function valueOf(settings: object, { path }: Item): unknown {
  return path.split(".").reduce<unknown>((found, key) => (isTable(found) ? found[key] : undefined), settings);
}
