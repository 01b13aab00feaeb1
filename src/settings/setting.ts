import * as v from "valibot";
import type { Doubt } from "./text.ts";

/** What there is to say about a setting besides its values. Environment variable and flag follow from its name. */
export interface About<T> {
  readonly description: string;
  /** Its value may be shown. Without this mark it is a secret: a forgotten mark hides, it never leaks. */
  readonly public?: true;
  readonly fileOnly?: true;
  /** A flag that is given again adds to it. */
  readonly list?: true;
  /** Environment variables that are read where its own is not set. */
  readonly alsoReads?: readonly string[];
  /** What may be shown of a value, if not the value itself. */
  show?(value: T): string;
  /** What is allowed and still doubtful. `given` is the value as its source has it. */
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
