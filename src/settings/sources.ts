import { nearest, placeIn, safe, type Place } from "./messages.ts";
import { configuration, items } from "./schema.ts";
import type { Item } from "./setting.ts";

/** What one source says about one setting, and the name under which messages refer to it. */
export interface Given {
  readonly value: unknown;
  readonly name: (place: Place) => string;
}

/** What one source says about all settings, by path. */
export interface Layer {
  readonly given: ReadonlyMap<string, Given>;
  readonly problems: readonly string[];
}

/**
 * Reads `--name=value`, `--name value`, and `--switch`. The last of repeated flags counts, except that a list grows.
 *
 * Problems quote the names of flags and nothing else: a stray argument may be the rest of a secret without quotes. (Hence not
 * node:util's parseArgs, which takes `-s3cr3t` for six flags, and `--a --b` for a value.)
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
      // The next argument is the value of the unknown flag, not a second mistake.
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

export type Environment = Readonly<Record<string, string | undefined>>;

/** `strangers`: messages about unknown variables with our prefix, which may be meant for another program. */
export function readEnvironment(
  env: Environment,
): Layer & { readonly config: string | undefined; readonly strangers: readonly string[] } {
  const read = (variable: string) => {
    const value = Object.hasOwn(env, variable) ? (env[variable] ?? "") : "";
    return value.trim() === "" || isLink(variable, value) ? undefined : value;
  };
  const given = new Map<string, Given>();
  for (const { path, variables } of items) {
    const variable = variables.find((name) => read(name) !== undefined);
    if (variable !== undefined) given.set(path, { value: read(variable), name: (place) => placeIn(variable, place) });
  }
  const known = new Set<string>([configuration.variable, ...items.flatMap(({ variables }) => variables)]);
  const strangers = Object.keys(env).filter(
    (name) => name.startsWith("AMPER_") && !known.has(name) && read(name) !== undefined,
  );
  return { given, problems: [], config: read(configuration.variable), strangers: strangers.map(strange) };
}

/**
 * Recognises the variables that Kubernetes adds for a service called `amper…` in the same namespace, and Docker for a linked
 * container: AMPER_CHANNELS_PORT=tcp://10.0.0.7:3000, AMPER_CHANNELS_SERVICE_HOST, AMPER_CHANNELS_PORT_3000_TCP_ADDR, … A
 * service called just `amper` even adds AMPER_PORT.
 */
function isLink(variable: string, value: string): boolean {
  return (
    /_SERVICE_(HOST|PORT(_\w+)?)$/.test(variable) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(START|END|ADDR|PORT|PROTO))?$/.test(variable) ||
    (/_PORT(_\d+_\w+)?$/.test(variable) && /^(tcp|udp|sctp):\/\//.test(value)) ||
    (variable.endsWith("_NAME") && value.startsWith("/")) ||
    /^AMPER_CHANNELS(_\d+)?_ENV_/.test(variable)
  );
}

function strange(variable: string): string {
  const path = variable.slice("AMPER_".length);
  const inFile = items.find((item) => item.about.fileOnly === true && path.startsWith(item.path.toUpperCase()));
  const near = nearestItem(
    path,
    items.filter(({ variables }) => variables.length > 0),
  )?.variables[0];
  const hint =
    near === undefined
      ? inFile === undefined
        ? ""
        : `: ${inFile.path} can only be set in the file`
      : `: did you mean ${near}?`;
  return `${safe(variable)} is not a known variable${hint}`;
}

/** The setting that a misspelt name means, however its words are joined. */
function nearestItem(name: string, candidates: readonly Item[] = items): Item | undefined {
  const path = nearest(
    name,
    candidates.map((item) => item.path),
  );
  return candidates.find((item) => item.path === path);
}
