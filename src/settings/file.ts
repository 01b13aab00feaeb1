import { didYouMean, placeIn, safe } from "./messages.ts";
import { groups, items } from "./schema.ts";
import { isTable } from "./setting.ts";
import type { Given, Layer } from "./sources.ts";

const most_chars = 1_048_576;

export function readSettingsFile(path: string | undefined, readFile: (path: string) => string): Layer {
  if (path === undefined) return { given: new Map(), problems: [] };
  const file = safe(path, 200);
  try {
    return readTables(parse(readFile(path)), file);
  } catch (error) {
    return {
      given: new Map(),
      problems: [`the settings file ${file} ${error instanceof Unreadable ? error.message : whyNot(error)}`],
    };
  }
}

class Unreadable extends Error {}

function whyNot(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT") return "does not exist";
  if (code === "EACCES") return "may not be read by this user";
  return code === "EISDIR" ? "is a directory" : "cannot be read";
}

function parse(text: string): object {
  if (text.length > most_chars) throw new Unreadable(`is longer than ${most_chars} characters`);
  const toml = text.replace(/^\uFEFF/, "");
  const error = syntaxError(toml);
  if (error === undefined) return Bun.TOML.parse(toml);
  // Without the parser's quotations: the file is full of secrets.
  throw new Unreadable(
    `is not TOML${lineOf(error, toml)}: ${error.replace(/^TOML Parse error: /, "").replace(/(["'`]).*\1/gs, "…")}`,
  );
}

function syntaxError(toml: string): string | undefined {
  try {
    Bun.TOML.parse(toml);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : "unknown error";
  }
}

/** The parser does not say where the error is: on the first line with which it appears. */
function lineOf(error: string, toml: string): string {
  const lines = toml.split("\n").slice(0, 1000);
  const line = lines.findIndex((_, index) => syntaxError(lines.slice(0, index + 1).join("\n")) === error);
  return line === -1 ? "" : ` (line ${line + 1})`;
}

function readTables(root: object, file: string): Layer {
  const given = new Map<string, Given>();
  const problems: string[] = [];
  for (const [name, value] of Object.entries(root)) {
    if (!groups.includes(name)) {
      take(name, value);
    } else if (isTable(value)) {
      for (const [inner, innerValue] of Object.entries(value)) take(`${name}.${inner}`, innerValue);
    } else {
      problems.push(`${name} in ${file} must be a table`);
    }
  }
  return { given, problems };

  function take(path: string, value: unknown): void {
    if (items.some((item) => item.path === path))
      given.set(path, { value, name: (place) => `${placeIn(path, place)} in ${file}` });
    else problems.push(`${safe(path)} in ${file} is not a known setting${hintFor(path)}`);
  }
}

function hintFor(path: string): string {
  const inner = path.slice(path.indexOf(".") + 1);
  const paths = items.map((item) => item.path);
  if (inner !== path && paths.includes(inner))
    return `: did you mean ${inner}? It has to stand above the first [table]`;
  return didYouMean(path, [...paths, ...groups]);
}
