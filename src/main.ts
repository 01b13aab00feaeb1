import { onSignal, type OnSignal } from "./signals.ts"; // The first of all, so that signals are heard.
import { constants } from "node:os";
import { version } from "./version.ts";

interface Command {
  readonly summary: string;
  readonly help: () => string;
  /** Resolves with the exit code: 0 fine, 1 failed, 2 called wrongly. */
  readonly run: (args: readonly string[], onSignal: OnSignal) => Promise<number>;
}

/** Loaded when they are needed: to load all of the code takes a time in which no signal is heard. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  async serve() {
    const { summary, help, serve } = await import("./commands/serve.ts");
    return { summary, help, run: serve };
  },
  async check() {
    const { summary, help, check } = await import("./commands/check.ts");
    return { summary, help, run: (args) => check(args) };
  },
  async key() {
    const { summary, help, key } = await import("./commands/key.ts");
    return { summary, help, run: key };
  },
  async licenses() {
    const { summary, help, licenses } = await import("./commands/licenses.ts");
    return { summary, help, run: licenses };
  },
};

/** argv → command. The only place that exits the process. */
process.exit(await main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const [first = "serve", ...rest] = args;
  if (first === "help" || first === "--help" || first === "-h") return print(await overview());
  if (first === "--version" || first === "version") return print(`${version}\n`);
  // Flags alone are for `serve`.
  const [name, own] = first.startsWith("-") ? ["serve", args] : [first, rest];
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load === undefined) {
    process.stderr.write(`amper-channels: there is no command ${JSON.stringify(name)}.\n\n${await overview()}`);
    return 2;
  }
  const command = await load();
  if (own.includes("--help") || own.includes("-h")) return print(command.help());
  const { promise: interrupted, resolve: interrupt } = Promise.withResolvers<number>();
  // Only the service has something to finish.
  if (name !== "serve") onSignal((signal) => interrupt(128 + constants.signals[signal]));
  return Promise.race([command.run(own, onSignal), interrupted]);
}

async function overview(): Promise<string> {
  const loading = Object.entries(commands).map(async ([name, load]) => ({ name, command: await load() }));
  const lines = (await Promise.all(loading)).map(({ name, command }) => `  ${name.padEnd(8)} ${command.summary}\n`);
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
