import { inspect } from "../inspection/inspect.ts";
import { printout, settingsHelp } from "../settings/describe.ts";
import { loadSettings, missing, systemSources, type Sources } from "../settings/load.ts";

export const summary = "check the settings and print them, without secrets; --strict: warnings count";

export function help(): string {
  return `Usage: amper-channels check [--strict] [--config PATH] [--SETTING VALUE …]

Reads the settings as \`serve\` does, prints each with its source, and lists every problem and warning. Looks at what they name
as well: the settings file, the certificate and its key, the place of the journal, and Keycloak. Changes nothing.

  --strict    warnings count as problems

Exit codes: 0 no problems, 1 problems, 2 usage error.

${settingsHelp()}`;
}

/** @param sourcesOf given by tests */
export async function check(
  args: readonly string[],
  sourcesOf: (args: readonly string[]) => Sources = systemSources,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(help());
    return 0;
  }
  const strict = args.includes("--strict");
  const loaded = loadSettings({ ...sourcesOf(args.filter((arg) => arg !== "--strict")), strict });
  if (loaded.ok) process.stdout.write(printout(loaded));
  const found = loaded.ok ? await inspect(loaded) : { problems: loaded.problems, warnings: [] };
  const problems = [...(loaded.ok ? missing(loaded.settings) : []), ...found.problems];
  const warnings = [...loaded.warnings, ...found.warnings];
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
  for (const problem of problems) process.stderr.write(`problem: ${problem}\n`);
  if (!loaded.ok && loaded.isUsage) {
    process.stderr.write("See `amper-channels check --help`.\n");
    return 2;
  }
  return problems.length > 0 || (strict && warnings.length > 0) ? 1 : 0;
}
