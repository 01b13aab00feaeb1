import type { Loaded } from "./load.ts";
import { safe } from "./messages.ts";
import { configuration, items, type Settings } from "./schema.ts";
import { valueOf, type Item } from "./setting.ts";

const fileOnly = "(file only)";

/** For `--help`: flags, variables, defaults and meanings, aligned. */
export function settingsHelp(): string {
  const rows = [
    [`${configuration.flag}=…`, configuration.variable, "", configuration.description],
    ...items.map((item) => [
      item.about.fileOnly === true ? `[${item.path}.NAME]` : `${item.flag}${item.isSwitch ? "" : "=…"}`,
      variablesOf(item).join(", "),
      item.fallback === false ? "" : fallbackOf(item),
      item.about.description,
    ]),
  ];
  const lines = aligned([["Flag", "Environment", "Default", ""], ...rows]).map((cells) =>
    `  ${cells.join("  ")}`.trimEnd(),
  );
  return `Settings: defaults < file < environment < flags. Lists have commas, or repeat their flag.\n\n${lines.join("\n")}\n`;
}

/** For the README, formatted as prettier does it. */
export function settingsTable(): string {
  const rows = [
    ["", code(configuration.variable), "none", configuration.description],
    ...items.map((item) => [
      code(item.path),
      item.about.fileOnly === true ? "file only" : variablesOf(item).map(code).join(", "),
      fallbackOf(item) === "none" ? "none" : code(fallbackOf(item)),
      item.about.description.replaceAll(/[|*]/g, "\\$&"),
    ]),
  ];
  const [head = [], ...body] = aligned([["setting", "environment", "default", "meaning"], ...rows]);
  const rule = head.map((cell) => "-".repeat(cell.length));
  return [head, rule, ...body].map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

/** The settings in effect, each with its origin. A secret is shown as `(set)` or `(not set)`. */
export function printout({ settings, origins }: Extract<Loaded, { ok: true }>): string {
  const lines = items.map(
    (item) => `${item.path} = ${shown(item, settings)}  (${origins.get(item.path) ?? "default"})\n`,
  );
  return lines.join("");
}

function shown(item: Item, settings: Settings): string {
  const value = valueOf(settings, item);
  const isSet = value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0);
  if (!isSet) return item.about.public === true && value !== undefined ? "(none)" : "(not set)";
  if (item.about.show !== undefined) return item.about.show(value);
  return item.about.public === true ? safe(textOf(value), 1000) : "(set)";
}

function variablesOf(item: Item): readonly string[] {
  return item.about.fileOnly === true ? [fileOnly] : item.variables;
}

function fallbackOf({ fallback }: Item): string {
  return fallback === undefined || textOf(fallback) === "" ? "none" : textOf(fallback);
}

function aligned(rows: readonly (readonly string[])[]): string[][] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)));
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(textOf).join(", ");
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

function code(text: string): string {
  return `\`${text}\``;
}
