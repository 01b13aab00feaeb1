import * as check from "./commands/check.ts";
import * as key from "./commands/key.ts";
import * as serve from "./commands/serve.ts";
import { version } from "./version.ts";

interface Command {
  readonly summary: string;
  readonly help: () => string;
  /** Resolves with the exit code: 0 fine, 1 failed, 2 called wrongly. */
  readonly run: (args: readonly string[]) => Promise<number>;
}

const commands: Readonly<Record<string, Command>> = {
  serve: { ...serve, run: serve.serve },
  check: { ...check, run: check.check },
  key: { ...key, run: key.key },
};

/** argv → command. The only place that exits the process. */
process.exit(await main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const [first = "serve", ...rest] = args;
  if (first === "help" || first === "--help" || first === "-h") return print(overview());
  if (first === "--version" || first === "version") return print(`${version}\n`);
  // Flags alone are for `serve`.
  const [name, own] = first.startsWith("-") ? ["serve", args] : [first, rest];
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    process.stderr.write(`amper-channels: there is no command ${JSON.stringify(name)}.\n\n${overview()}`);
    return 2;
  }
  if (own.includes("--help") || own.includes("-h")) return print(command.help());
  return command.run(own);
}

function overview(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}\n`);
  return `amper-channels ${version}: push notifications for Keycloak web applications

Usage: amper-channels [COMMAND] [OPTIONS]

${lines.join("")}
Each command has --help.
`;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}
