import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { killAfterTest } from "./children.ts";
import { findProgram, type Part } from "./parts.ts";

const home = join(import.meta.dir, "../clients");

/** A language in which backends are written. */
export interface Language extends Part {
  /** How a backend is run; the name of its client follows. */
  readonly command: readonly string[];
  /** The clients that it knows. */
  readonly clients: readonly string[];
}

interface Given extends Pick<Language, "clients"> {
  readonly program: string;
  readonly args: readonly string[];
  /** What `.ci/clients` makes. */
  readonly installed?: string;
}

function language({ program, args, clients, installed = "" }: Given): Language {
  const path = findProgram(program);
  const isInstalled = existsSync(join(home, installed));
  const missing =
    path === undefined
      ? `${program} is not on the PATH`
      : isInstalled
        ? undefined
        : "their packages are missing (.ci/clients)";
  return { missing, command: [path ?? program, ...args], clients };
}

/** Each client as it is by default, and those of Node that keep no connection by default also with an agent that does. */
export const languages: Readonly<Record<string, Language>> = {
  Node: language({
    program: "node",
    args: [join(home, "backend.mjs")],
    installed: "node_modules",
    clients: [
      "axios",
      "axios, with kept connections",
      "fetch",
      "got",
      "got, with kept connections",
      "node-fetch 2",
      "node-fetch 2, with kept connections",
      "node-fetch 3.2",
      "node-fetch 3.2, with kept connections",
      "node-fetch 3.3",
      "node-fetch 3.3, with kept connections",
      "undici.fetch",
      "undici.request",
      "undici.Pool, which pipelines",
    ],
  }),
  Python: language({
    program: "python3",
    args: [join(home, "backend.py")],
    installed: "python",
    clients: ["requests", "requests.Session", "httpx", "httpx.Client", "httpx.AsyncClient"],
  }),
  Java: language({ program: "java", args: [join(home, "Backend.java")], clients: ["HTTP_2", "HTTP_1_1"] }),
  Go: language({ program: "go", args: ["run", join(home, "backend.go")], clients: ["net/http"] }),
};

/** How many calls ended how: by status, or by the text of the error. */
const Outcomes = v.record(v.string(), v.number());
export type Outcomes = v.InferOutput<typeof Outcomes>;

/** A backend that runs, and keeps its connections between orders. Killed after the test by itself. */
export interface Backend {
  readonly client: string;
  call(count: number, way: "at once" | "in turn"): Promise<Outcomes>;
}

/** Runs one that calls `/notify` of the service at `url`. */
export function startBackend({ command }: Language, client: string, url: string, key: string): Backend {
  const child = Bun.spawn([...command, client, `${url}/notify`, key], { cwd: home, stdio: ["pipe", "pipe", "pipe"] });
  killAfterTest(child);
  const errors = child.stderr.text();
  const lines = linesOf(child.stdout);
  return {
    client,
    async call(count, way) {
      void child.stdin.write(`${count} ${way}\n`);
      await child.stdin.flush();
      const { value } = await lines.next();
      if (value === undefined) throw new Error(`${client} ended: ${await errors}`);
      return v.parse(Outcomes, JSON.parse(value));
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
