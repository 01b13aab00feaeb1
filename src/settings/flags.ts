import { configuration, items, nearestItem, type Given, type Item, type Layer } from "./items.ts";
import { placeIn, safe } from "./text.ts";

/**
 * `--name=value`, `--name value`, and `--switch`. Of a flag that is given again the last one counts; a list grows.
 *
 * Nothing but names of flags is ever repeated in a problem: a stray argument may be the rest of a secret that was given
 * without quotes. (Hence not node:util's parseArgs, which takes `-s3cr3t` for six flags, and `--a --b` for a value.)
 */
export function readFlags(args: readonly string[]): Layer & { readonly config: string | undefined } {
  const given = new Map<string, Given>();
  const problems: string[] = [];
  let config: string | undefined;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    const next = args[index + 1];
    const [, name, inline] = /^(--[A-Za-z][\w.-]*)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === undefined) {
      problems.push(`argument ${index + 1} is not a flag${hintFor(arg, args[index - 1])}`);
      continue;
    }
    const item = items.find(({ flag }) => flag === name);
    if (item === undefined && name !== configuration.flag) {
      problems.push(unknownFlag(name));
      // What follows is its value, and not a second mistake.
      if (inline === undefined && next !== undefined && !next.startsWith("-")) index++;
    } else if (item?.about.fileOnly === true) {
      problems.push(`${name} is not a flag: ${item.path} can only be set in the file`);
    } else if (inline === undefined && item?.isSwitch !== true && (next === undefined || isFlag(next))) {
      problems.push(`${name} needs a value: write ${name}=VALUE`);
    } else {
      const value = inline ?? (item?.isSwitch === true ? "true" : (args[++index] ?? ""));
      if (item === undefined) config = value;
      else
        given.set(item.path, {
          value: joined(item, given.get(item.path)?.value, value),
          name: (place) => placeIn(name, place),
        });
    }
  }
  return { given, problems, config };
}

function joined(item: Item, before: unknown, value: string): string {
  return item.about.list === true && typeof before === "string" ? `${before},${value}` : value;
}

function isFlag(arg: string): boolean {
  return arg.startsWith("--") && (arg.startsWith(configuration.flag) || items.some(({ flag }) => arg.startsWith(flag)));
}

function unknownFlag(name: string): string {
  const negated = items.find(({ flag, isSwitch }) => isSwitch && flag === name.replace(/^--no-/, "--"));
  if (negated !== undefined) return `${name} is not a flag: write ${negated.flag}=false`;
  const near = nearestItem(name.replace(/^-+/, ""))?.flag;
  return `${safe(name, 40)} is not a flag${near === undefined ? "" : `: did you mean ${near}?`}`;
}

function hintFor(stray: string, before: string | undefined): string {
  const item = items.find(({ flag, isSwitch }) => isSwitch && flag === before);
  if (item !== undefined) return `: write ${item.flag}=false, or ${item.flag} alone`;
  const near = nearestItem(stray.replace(/=.*$/s, ""))?.flag;
  return near === undefined
    ? ": values are written --name=VALUE, and lists with commas and no spaces"
    : `: did you mean ${near}?`;
}
