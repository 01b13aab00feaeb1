import type { Loaded } from "../settings/load.ts";
import { safe } from "../settings/messages.ts";
import { openToAll } from "./files.ts";

/** Warnings about secrets that other users of this machine can read. (A group is theirs who made it: 0440 and 0640 are usual.) */
export function exposedSecrets({ settings, file, clear }: Extract<Loaded, { ok: true }>): string[] {
  return [
    ...(file === undefined ? [] : ofFile(file, clear.file)),
    ...(settings.tls_key === undefined ? [] : ofKey(settings.tls_key)),
    ...clear.flags.map(
      ({ flag, variable }) =>
        `${flag} has a secret, and every user of this machine can read the arguments of its processes: write it into the settings file, or set ${variable}`,
    ),
  ];
}

function ofFile(path: string, secrets: readonly string[]): string[] {
  const open = openToAll(path);
  if (open === undefined) return [];
  const file = `the settings file ${safe(path, 200)}`;
  if (open.isWritable)
    return [`${file} can be changed by every user of this machine (mode ${open.mode}): chmod 600 it`];
  if (secrets.length === 0) return [];
  return [
    `${file} can be read by every user of this machine (mode ${open.mode}) and has secrets (${secrets.join(", ")}): chmod 600 it, or keep only digests of keys in it`,
  ];
}

function ofKey(path: string): string[] {
  const open = openToAll(path);
  if (open === undefined) return [];
  const may = open.isWritable ? "changed" : "read";
  return [`tls_key (${safe(path, 200)}) can be ${may} by every user of this machine (mode ${open.mode}): chmod 600 it`];
}
