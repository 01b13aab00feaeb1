import { pick, type Random } from "./random.ts";

/** What a fuzzer makes of something valid. All of it is a function of the generator, so that a seed repeats it. */

export const chance = (random: Random, probability: number): boolean => random() < probability;

/** A whole number from 0 on, below `limit`. */
export const below = (random: Random, limit: number): number => Math.floor(random() * limit);

export function times<T>(n: number, make: (i: number) => T): T[] {
  return Array.from({ length: n }, (_, i) => make(i));
}

const inserts = ["", '"', "'", "{", "}", "[", "]", "\\", ",", ":", ";", "=", "&", "%", "%00", "+", "-", ".", "/", "\0"];
const moreInserts = [
  "\u001e",
  "é",
  "€",
  "\u{1f600}",
  "\u202e",
  "\ufeff",
  "\r\n",
  "\n",
  "\t",
  " ",
  "9",
  "0",
  "a",
  "\x7f",
];

/** Drops, doubles, swaps in, or moves a few characters. */
export function mutateText(random: Random, text: string): string {
  let result = text;
  for (let i = 1 + below(random, 3); i > 0; i--) {
    const at = below(random, result.length + 1);
    const end = at + below(random, 4);
    // Short of a whole secret: a name that has one in it may come back to who sent it.
    const piece = chance(random, 0.2)
      ? result.slice(below(random, result.length + 1)).slice(0, 1 + below(random, 12))
      : pick(random, chance(random, 0.5) ? inserts : moreInserts);
    result = result.slice(0, at) + piece + result.slice(end);
  }
  return result;
}

/** Flips bits, cuts, repeats: whatever it was, it is bytes now. */
export function mutateBytes(random: Random, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(bytes);
  if (chance(random, 0.2)) return result.slice(0, below(random, result.length + 1));
  for (let i = 1 + below(random, 4); i > 0 && result.length > 0; i--) {
    result[below(random, result.length)] = pick(random, [
      0,
      0x0a,
      0x0d,
      0x1e,
      0x22,
      0x7f,
      0x80,
      0xc0,
      0xff,
      below(random, 256),
    ]);
  }
  return result;
}

export const oddNumbers = [
  ..."0 -0 -1 1 0.5 1e0 1E400 -1e400 1e-400 1e999999999 9007199254740993 18446744073709551616".split(" "),
  ..."604800 604801 4294967296 2147483648 00 +1 .5 1. 0x10 1_000 NaN Infinity --1 1e 9".split(" "),
  "9".repeat(400),
  `0.${"3".repeat(400)}`,
];

const oddCharacters = [
  ..."\\u0000 \\ud800 \\udc00\\ud800 \\ud83d\\ude00 \\u2028 \\u202e \\ufeff \\uffff \\u001e \\n \\r\\n \\/ \\x41 \\u12 \\".split(
    " ",
  ),
  "\u{1f468}\u200d\u{1f469}",
  "e\u0301\u0301\u0301",
  "\u202e",
  "\ufeff",
  "\ufffd",
  "\u0085",
  "\0",
  "\n",
  "\x7f",
  " ",
  "%s%n%00",
  "\u001b[31m",
  "<script>",
  "${1}",
];

export const oddNames = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "then",
  "toJSON",
  "",
  "0",
  "length",
];

/** The JSON text of a string that few expect: not always valid. */
export function oddString(random: Random): string {
  const text = times(1 + below(random, 4), () => pick(random, [...oddCharacters, ...oddNames, "a", "msf"])).join("");
  return `"${chance(random, 0.1) ? text.repeat(1 + below(random, 300)) : text}"`;
}

/** JSON text of any kind, of any depth up to far too much: not always valid. */
export function oddJson(random: Random, depth = 0): string {
  const dice = random();
  if (dice < 0.25) return oddString(random);
  if (dice < 0.45) return pick(random, oddNumbers);
  if (dice < 0.6) return pick(random, ["null", "true", "false", "undefined", "", "Null", "[]", "{}", "[,]", "{,}"]);
  if (dice < 0.65)
    return deep(1 + below(random, pick(random, [70, 5000, 60_000])), pick(random, ["[", '{"a":', '[{"b":']));
  if (dice < 0.7) return `[${times(below(random, 1200), (i) => `"n${i % 1100}"`).join()}]`;
  if (depth > 3) return "1";
  const items = times(below(random, 4), () => oddJson(random, depth + 1));
  if (chance(random, 0.5)) return `[${items.join()}]`;
  return `{${items.map((item) => `${chance(random, 0.5) ? JSON.stringify(pick(random, oddNames)) : oddString(random)}:${item}`).join()}}`;
}

function deep(levels: number, opening: string): string {
  const closing = opening
    .replaceAll(/[^[{]/g, "")
    .split("")
    .toReversed()
    .map((char) => (char === "[" ? "]" : "}"));
  return `${opening.repeat(levels)}1${closing.join("").repeat(levels)}`;
}

/** An object as its members: names and JSON texts, so that a name can be there twice. */
export type Members = readonly (readonly [name: string, json: string])[];

export function membersOf(value: object): Members {
  return Object.entries(value).map(([name, member]) => [name, JSON.stringify(member) ?? "null"] as const);
}

export function objectOf(members: Members): string {
  return `{${members.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join()}}`;
}

/** Changes, drops, doubles, renames or adds members. Some are left as they are, for there is little beyond a wrong key. */
export function mutateMembers(random: Random, members: Members, keep: readonly string[] = []): Members {
  let result = [...members];
  for (let i = 1 + below(random, 3); i > 0; i--) {
    const at = below(random, result.length + 1);
    const [name, json] = result[at] ?? [pick(random, oddNames), oddJson(random)];
    if (keep.includes(name) && !chance(random, 0.1)) continue;
    const changed = pick<Members>(random, [
      [],
      [[name, oddJson(random)]],
      [[name, oddJson(random)]],
      [[name, `[${json},${oddJson(random)}]`]],
      [[name, `{"a":${json}}`]],
      [[name, mutateText(random, json)]],
      [
        [name, json],
        [name, oddJson(random)],
      ],
      [
        [name, json],
        [pick(random, oddNames), json],
      ],
      [[mutateText(random, name), json]],
    ]);
    result = [...result.slice(0, at), ...changed, ...result.slice(at + 1)];
  }
  return result;
}

/** JSON around which something is that JSON does not have, or only where nobody expects it. */
export function wrapJson(random: Random, json: string): string {
  return pick(random, [
    (text: string) => `\ufeff${text}`,
    (text: string) => ` \t\r\n${text}\n\n`,
    (text: string) => `[${text}]`,
    (text: string) => JSON.stringify(text),
    (text: string) => `${text}${text}`,
    (text: string) => `${text},`,
    (text: string) => `/* */${text}`,
    (text: string) => text.replaceAll('"', "'"),
    (text: string) => text.slice(0, below(random, text.length)),
    (text: string) => `)]}',\n${text}`,
    (text: string) => `${text}\0`,
  ])(json);
}
