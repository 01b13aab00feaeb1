import type { Entry } from "../model/entry.ts";

// What the window takes in memory. Measured on Bun 1.4.5 with windows full of tiny broadcasts, messages to one user, lists of
// 1,000 users, and messages of 60 KB, in ASCII and in Cyrillic: for 64 MiB the process grows by 63–90 MiB.

/** An entry with its cursor, its target, and what the allocator adds to them. */
const entry_bytes = 400;
/** A name beside its characters, with its places in the target and in a list. */
const name_bytes = 36;
/** The list of a user or a channel that has something in the window. */
export const list_bytes = 150;

/** What an entry takes itself, beside the lists that it is in. */
export function sizeOf(entry: Entry): number {
  if (entry.kind !== "notification") return entry_bytes;
  // One character that is not Latin-1 makes all of them two bytes wide. (Latin-1 beyond ASCII is counted twice, too.)
  const json_bytes = Buffer.byteLength(entry.json) === entry.json.length ? entry.json.length : entry.json.length * 2;
  const { users = [], channels = [] } = entry.target;
  return entry_bytes + json_bytes + sizeOfNames(users) + sizeOfNames(channels);
}

/** Not measured one by one, which would cost more than all else that is done with a name: two bytes for each character. */
function sizeOfNames(names: readonly string[]): number {
  return names.reduce((sum, name) => sum + name_bytes + name.length * 2, 0);
}
