import * as v from "valibot";
import { didYouMean } from "./text.ts";

// What settings are made of. Every schema takes what a file says (numbers, lists, tables) and what the environment and flags
// say (text), and every message is a rule that reads well behind a name: "AMPER_PORT must be …". No message contains a
// value: whether a value may be shown is not for a schema to decide.

export type Schema<T> = v.GenericSchema<unknown, T>;

export function text(rule: string, pattern: RegExp) {
  return v.pipe(v.string(rule), v.trim(), v.regex(pattern, rule));
}

export function wholeNumber(least: number, most: number) {
  const rule = `must be a whole number from ${least} to ${most}`;
  const written = v.pipe(v.string(rule), v.trim(), v.regex(/^-?\d{1,16}$/, rule), v.transform(Number));
  return v.pipe(
    v.union([v.number(rule), written], rule),
    v.integer(rule),
    v.minValue(least, rule),
    v.maxValue(most, rule),
  );
}

const rateRule = "must be a number from 0.001 to 1000000";

/** How often something may happen: so many a second, or with a fraction, one in so many seconds. */
export const rate = v.pipe(
  v.union(
    [
      v.number(rateRule),
      v.pipe(v.string(rateRule), v.trim(), v.regex(/^\d{1,7}(\.\d{1,6})?$/, rateRule), v.transform(Number)),
    ],
    rateRule,
  ),
  v.minValue(0.001, rateRule),
  v.maxValue(1_000_000, rateRule),
);

const size = /^(\d{1,16}) *(B|[KMG]iB)?$/;
const units: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

export function bytes(most: string, least = "1") {
  const rule = `must be a number of bytes from ${least} to ${most}, such as 65536, 64 KiB, 8 MiB or 1 GiB`;
  const given = v.union(
    [v.number(rule), v.pipe(v.string(rule), v.trim(), v.regex(size, rule), v.transform(sizeOf))],
    rule,
  );
  return v.pipe(given, v.integer(rule), v.minValue(sizeOf(least), rule), v.maxValue(sizeOf(most), rule));
}

function sizeOf(written: string): number {
  const [, digits, unit] = size.exec(written) ?? [];
  return Number(digits) * (units[unit ?? "B"] ?? Number.NaN);
}

export const flag = v.pipe(
  v.union([v.boolean(), v.string()], "must be true or false"),
  v.transform((value) => (typeof value === "string" ? value.trim().toLowerCase() : String(value))),
  v.picklist(["true", "false", "1", "0"], "must be true or false"),
  v.transform((value) => value === "true" || value === "1"),
);

/** A list in the file, or text with commas. A text in a list is taken whole, so that a secret in the file may have a comma. */
export function list<T>(item: Schema<T>) {
  const rule = "must be a list, or a text with commas";
  return v.pipe(
    v.union([v.pipe(v.array(v.unknown()), v.readonly()), v.string()], rule),
    v.transform((given) => splitAtCommas(given)),
    v.array(item, rule),
    v.transform((items): readonly T[] => [...new Set(items)]),
  );
}

/** `"*"`, or a list. */
export function listOrAll<T>(item: Schema<T>) {
  const all = v.pipe(
    v.unknown(),
    v.transform((): "*" => "*"),
  );
  const some = list(item);
  return v.lazy((given): Schema<"*" | readonly T[]> => (isAll(given) ? all : some));
}

function isAll(given: unknown): boolean {
  return given === "*" || (Array.isArray(given) && given.length === 1 && given[0] === "*");
}

export function splitAtCommas(given: string | readonly unknown[]): readonly unknown[] {
  if (typeof given !== "string") return given;
  return given
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

/** A table of the file. Every name that it should not have, and every one that it lacks, is a problem of its own. */
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

type Table = Readonly<Record<string, unknown>>;

/** A table of the file, as TOML gives it: not a list, and not one of its dates and times. */
export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

const isPlainUrl = (written: string) => {
  const url = URL.parse(written);
  return (
    url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.hash === ""
  );
};

export const url = v.pipe(
  v.string("must be a http(s) URL"),
  v.trim(),
  v.check(isPlainUrl, "must be a http(s) URL without user name, password and #"),
);

/** The text itself and not what URL makes of it: a token's `iss` is compared as text (OIDC Core 3.1.3.7). */
export const issuer = v.pipe(
  url,
  v.check((written) => !written.includes("?"), "must be a URL without a query"),
  v.transform((written) => written.replace(/\/+$/, "")),
);

/** What a browser sends as `Origin`. */
export const origin = v.pipe(
  v.string("must be * or a list of origins such as https://app.example.com"),
  v.trim(),
  v.check(
    (written) => isPlainUrl(written) && /^https?:\/\/[^/?*]+\/?$/i.test(written),
    "must be * or a list of origins such as https://app.example.com, without a path or a *",
  ),
  v.transform((written) => new URL(written).origin),
);

/** Whether what is sent to this URL crosses a network in the clear. */
export function isOpenToListeners(written: string): boolean {
  const { protocol, hostname } = new URL(written);
  return protocol === "http:" && !/^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}

const instantRule = "must be a date and time with a time zone, such as 2027-01-01T00:00:00Z";

/** As text, or as TOML's own date and time, which Bun reads as a Temporal object. */
export const instant = v.pipe(
  v.union([v.string(), v.instance(Temporal.Instant)], instantRule),
  v.rawTransform<string | Temporal.Instant, Date>(({ dataset, addIssue, NEVER }) => {
    try {
      return new Date(Temporal.Instant.from(dataset.value).epochMilliseconds);
    } catch {
      addIssue({ message: instantRule });
      return NEVER;
    }
  }),
);
