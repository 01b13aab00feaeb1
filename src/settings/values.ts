import * as v from "valibot";

// The kinds of values. Each schema takes a value as the file has it (number, list, date) and as the environment and flags have
// it (text). Each message is a rule that reads well after a name: "AMPER_PORT must be …". No message contains the value,
// because a schema does not know whether the value is a secret.

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

/** Events per second; 0.5 is one event in two seconds. */
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

const instantRule = "must be a date and time with a time zone, such as 2027-01-01T00:00:00Z";

/** A text, or TOML's own date and time, which Bun reads as a Temporal object. */
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

/** A list in the file, or text with commas. A text within a list stays whole, so that a secret in the file may have a comma. */
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

/** Where accepted notifications are kept. */
export const JournalUrl = v.pipe(
  v.string("must be sqlite:PATH or memory:"),
  v.trim(),
  v.rawTransform<string, JournalChoice>(({ dataset, addIssue, NEVER }) => {
    if (dataset.value === "memory:") return { kind: "memory" };
    const path = /^sqlite:(.+)$/.exec(dataset.value)?.[1];
    if (path !== undefined) return { kind: "sqlite", path };
    // Names the scheme only: a Redis URL has a password.
    const [scheme] = /^rediss?:\/\//.exec(dataset.value) ?? [];
    const rule = "must be sqlite:PATH or memory: (redis://… and rediss://… will be accepted by a later version)";
    addIssue({ message: scheme === undefined ? rule : `${scheme}… is not available in this version; use sqlite:PATH` });
    return NEVER;
  }),
);
export type JournalChoice = { readonly kind: "memory" } | { readonly kind: "sqlite"; readonly path: string };

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

/** Stays as it is written, because a token's `iss` is compared as text (OIDC Core 3.1.3.7). */
export const issuer = v.pipe(
  url,
  v.check((written) => !written.includes("?"), "must be a URL without a query"),
  v.transform((written) => written.replace(/\/+$/, "")),
);

const basePathRule = "must be a path such as /notifications, of letters, digits and . _ ~ - between slashes";

/** Returned with a slash in front and none behind; empty: none, which `/` is, too. */
export const basePath = v.pipe(
  v.string(basePathRule),
  v.trim(),
  v.maxLength(256, "must be a path of at most 256 characters"),
  v.check((written) => segmentsOf(written).every(isPlainSegment), basePathRule),
  v.transform((written) => ["", ...segmentsOf(written)].join("/")),
);

function segmentsOf(path: string): string[] {
  const inner = path.replace(/^\/|\/$/g, "");
  return inner === "" ? [] : inner.split("/");
}

/** Paths are compared as they are sent: nothing that clients escape, and neither `.` nor `..`, which they resolve. */
function isPlainSegment(segment: string): boolean {
  return /^[A-Za-z0-9._~-]+$/.test(segment) && !/^\.{1,2}$/.test(segment);
}
