import { readFileSync } from "node:fs";
import * as v from "valibot";
import { contradictions } from "./contradictions.ts";
import { readSettingsFile } from "./file.ts";
import { butNot, placeOf } from "./messages.ts";
import { realmsOf, repeatedIssuers, unknownChannels } from "./realms.ts";
import { groups, items, Settings } from "./schema.ts";
import type { Item } from "./setting.ts";
import { readEnvironment, readFlags, type Environment, type Given, type Layer } from "./sources.ts";

export interface Sources {
  readonly args: readonly string[];
  readonly env: Environment;
  readonly readFile: (path: string) => string;
  /** Unknown `AMPER_*` variables are problems, not warnings. */
  readonly strict?: boolean;
}

export type Origin = "default" | "file" | "environment" | "flag";

/** Secrets that stand in a source as they are, where other users may find them. Digests of keys are none. */
export interface SecretsInClear {
  /** Names of settings in the file. */
  readonly file: readonly string[];
  readonly flags: readonly { readonly flag: string; readonly variable: string }[];
}

export type Loaded =
  | {
      readonly ok: true;
      readonly settings: Settings;
      /** By path: `keycloak.issuer`. */
      readonly origins: ReadonlyMap<string, Origin>;
      readonly warnings: readonly string[];
      /** The settings file. */
      readonly file: string | undefined;
      readonly clear: SecretsInClear;
    }
  | {
      readonly ok: false;
      readonly problems: readonly string[];
      readonly warnings: readonly string[];
      /** Some flags or arguments do not exist: a usage error. */
      readonly isUsage: boolean;
    };

/** The only reader of the environment. */
export function systemSources(args: readonly string[]): Sources {
  return { args, env: process.env, readFile: (path) => readFileSync(path, "utf8") };
}

/** Defaults < file < environment < flags. Lists every problem of every source, or has none. */
export function loadSettings({ args, env, readFile, strict = false }: Sources): Loaded {
  const flags = readFlags(args);
  const environment = readEnvironment(env);
  const place = flags.config ?? environment.config;
  const file = readSettingsFile(place, readFile);
  const problems = [...flags.problems, ...environment.problems, ...file.problems];
  const warnings: string[] = [];
  (strict ? problems : warnings).push(...environment.strangers);

  const origins = new Map<string, Origin>();
  const winners = new Map<string, Given>();
  for (const item of items) {
    origins.set(item.path, "default");
    let doubts: readonly string[] = [];
    // From the weakest source to the strongest. Overruled values are judged as well.
    for (const [origin, layer] of [
      ["file", file],
      ["environment", environment],
      ["flag", flags],
    ] as const) {
      const given = layer.given.get(item.path);
      if (given === undefined) continue;
      const judged = judge(item, given);
      problems.push(...judged.problems);
      ({ doubts } = judged);
      // Warns of keys in the file that have no effect: a list replaces the whole list of a weaker source.
      const overruled = item.about.list === true && item.about.public !== true ? winners.get(item.path) : undefined;
      if (overruled !== undefined) warnings.push(`${overruled.name([])} counts for nothing beside ${given.name([])}`);
      winners.set(item.path, given);
      origins.set(item.path, origin);
    }
    warnings.push(...doubts);
  }
  problems.push(...incomplete(winners));
  if (problems.length > 0) return { ok: false, problems, warnings, isUsage: flags.problems.length > 0 };
  const settings = v.parse(Settings, nest(new Map(Array.from(winners, ([path, { value }]) => [path, value]))));
  const repeated = repeatedIssuers(settings);
  if (repeated.length > 0) return { ok: false, problems: repeated, warnings, isUsage: false };
  return {
    ok: true,
    settings,
    origins,
    warnings: [...warnings, ...unknownChannels(settings), ...contradictions(settings)],
    file: place,
    clear: {
      file: items.filter((item) => isSecretIn(file, item)).map((item) => item.path),
      flags: items
        .filter((item) => isSecretIn(flags, item))
        .map(({ flag, variables: [variable = ""] }) => ({ flag, variable })),
    },
  };
}

function isSecretIn({ given }: Layer, { path, about }: Item): boolean {
  const found = given.get(path);
  return found !== undefined && about.public !== true && (about.isSecret?.(found.value) ?? true);
}

function judge(
  { schema, about }: Item,
  { value, name }: Given,
): { problems: readonly string[]; doubts: readonly string[] } {
  const { success, output, issues } = v.safeParse(schema, value, { abortPipeEarly: true });
  if (success) {
    const doubts = about.doubts?.(output, value) ?? [];
    return { problems: [], doubts: doubts.map(({ place, doubt }) => `${name(place)} ${doubt}`) };
  }
  return {
    problems: issues.map(
      (issue) => `${name(placeOf(issue))} ${issue.message}${about.public === true ? butNot(issue.input) : ""}`,
    ),
    doubts: [],
  };
}

/** The values by path as the schema reads them: settings in their tables. */
function nest(given: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const inTable = (prefix: string) =>
    Object.fromEntries(
      Array.from(given)
        .filter(([path]) => path.startsWith(prefix) && !path.slice(prefix.length).includes("."))
        .map(([path, value]) => [path.slice(prefix.length), value]),
    );
  return { ...inTable(""), ...Object.fromEntries(groups.map((group) => [group, inTable(`${group}.`)])) };
}

/** Settings that need another one. */
const companions = [
  ["keycloak.jwks_url", "keycloak.issuer"],
  ["tls_cert", "tls_key"],
  ["tls_key", "tls_cert"],
] as const;

function incomplete(winners: ReadonlyMap<string, Given>): string[] {
  return companions.flatMap(([path, companion]) => {
    const given = winners.get(path);
    if (given === undefined || winners.has(companion)) return [];
    const variable = items.find((item) => item.path === companion)?.variables[0];
    return [`${given.name([])} needs ${companion} too (${variable})`];
  });
}

/** Problems: settings without which the service is of no use. Not part of `loadSettings`, because `serve --dev` adds them. */
export function missing(settings: Settings): string[] {
  const problems: string[] = [];
  if (settings.api_keys.length === 0) {
    problems.push(
      "no API key: nobody could call /notify. Set AMPER_API_KEYS=name=key (make one with `amper-channels key NAME`), or try `amper-channels serve --dev`",
    );
  }
  if (settings.ws_tokens.length === 0 && realmsOf(settings).length === 0) {
    problems.push(
      "no way to authorize: nobody could connect. Set AMPER_WS_TOKENS=name=token or AMPER_KEYCLOAK_ISSUER=https://HOST/realms/REALM, or try `amper-channels serve --dev`",
    );
  }
  return problems;
}
