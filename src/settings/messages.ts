import leven from "leven";

/**
 * A text from outside, as a message may show it: cut, with control characters escaped, which could rewrite a terminal, and
 * without our own keys, which people paste in the wrong place.
 */
export function safe(text: string, longest = 80): string {
  const escaped = text
    .replaceAll(/amper_[A-Za-z0-9_-]{20,}/g, "amper_…")
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
  return escaped.length > longest ? `${escaped.slice(0, longest)}…` : escaped;
}

/** `, not "abc"`, which follows the rule that a public value breaks. */
export function butNot(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return `, not ${value}`;
  if (typeof value !== "string") return "";
  // A URL is public and the password in it is not, although that password is often why the URL is refused.
  return `, not "${safe(value.replace(/^(\w+:\/\/)?.*@/s, "$1…@"), 60)}"`;
}

/** `: did you mean port?`, or an empty text if no candidate is near. */
export function didYouMean(name: string, candidates: readonly string[]): string {
  const near = nearest(name, candidates);
  return near === undefined ? "" : `: did you mean ${near}?`;
}

/** The candidate that a misspelt or incomplete name means. Separators and case do not count. */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const wanted = plain(name);
  let best: string | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const steps = leven(wanted, plain(candidate));
    if (steps < fewest && isTypo(wanted, plain(candidate), steps)) [best, fewest] = [candidate, steps];
  }
  if (best !== undefined || wanted.length < 4) return best;
  const [only, ...others] = candidates.filter((candidate) => plain(candidate).includes(wanted));
  return others.length === 0 ? only : undefined;
}

/** One step for every three letters. Exchanged neighbours are two steps: in a short name they count by their letters. */
function isTypo(wanted: string, candidate: string, steps: number): boolean {
  if (steps <= Math.floor(wanted.length / 3)) return true;
  return steps === 2 && lettersOf(wanted) === lettersOf(candidate);
}

function lettersOf(name: string): string {
  return Array.from(name).toSorted().join("");
}

function plain(name: string): string {
  return name
    .slice(0, 64)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, "");
}

/** The way to a part of a setting: names in tables, indexes in lists. */
export type Place = readonly (string | number)[];

export function placeOf(issue: { readonly path?: readonly { readonly key: unknown }[] | undefined }): Place {
  return (issue.path ?? []).map(({ key }) => (typeof key === "number" ? key : String(key)));
}

/** `api_keys.orders.expires_at`, `AMPER_API_KEYS entry 2`. */
export function placeIn(setting: string, place: Place): string {
  return place.reduce<string>((before, key, index) => {
    if (typeof key === "number") return `${before} entry ${key + 1}`;
    return `${before}${typeof place[index - 1] === "number" || before === "" ? " " : "."}${safe(key)}`;
  }, setting);
}

/** A warning about a value that is allowed, in words that follow the name of the setting. */
export interface Doubt {
  readonly place: Place;
  readonly doubt: string;
}
