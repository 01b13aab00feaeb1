import * as v from "valibot";
import { sha256 } from "../model/digest.ts";
import { nameRule } from "../model/names.ts";
import { CredentialName } from "../settings/credentials.ts";
import { makeKey } from "../settings/key-format.ts";

export const summary = "make an API key or WS token and print how to configure it";

const usage = `Usage: amper-channels key NAME

NAME says who will hold the key (${nameRule}), such as: amper-channels key orders
`;

export function help(): string {
  return `${usage}
Prints a new key, once, and the lines that configure it. They contain its digest only, from which nobody can recover the key.
The key serves as an API key (a backend calls /notify with it) or as a WS token (a front service calls /authorize with it).

Exit codes: 0 key made, 2 usage error.
`;
}

export async function key(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(help());
    return 0;
  }
  const [name, ...others] = args;
  const parsed = v.safeParse(CredentialName, name, { abortPipeEarly: true });
  if (!parsed.success || parsed.output.startsWith("-") || others.length > 0) {
    process.stderr.write(`amper-channels key takes one name.\n\n${usage}`);
    return 2;
  }
  process.stdout.write(instructions(parsed.output, makeKey()));
  return 0;
}

function instructions(name: string, fresh: string): string {
  const digest = `sha256:${sha256(fresh, "hex")}`;
  // A dot in a bare key of TOML would start a nested table.
  const table = name.includes(".") ? `"${name}"` : name;
  return `${fresh}

Store the key for its holder now: it is not shown again. The service needs its digest only.

As an API key:

  AMPER_API_KEYS=${name}=${digest}

or in the settings file, where it can be limited:

  [api_keys.${table}]
  key = "${digest}"
  channels = "*"    # or ["msf", "b2b"]
  admin = false

As a WS token: AMPER_WS_TOKENS=${name}=${digest}

  [ws_tokens.${table}]
  token = "${digest}"
  channels = "*"
`;
}
