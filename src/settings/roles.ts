import * as v from "valibot";
import type { Doubt } from "./messages.ts";
import { isTable, table } from "./setting.ts";
import { list, splitAtCommas, text } from "./values.ts";

const Name = text("must be a name without spaces", /^\S{1,256}$/);

/** A role of the realm is a text, whatever its characters; a role of a client is a pair. */
export type Role = string | { readonly client: string; readonly role: string };

/** `role`, or `client:role`: of several colons the first one counts, because ids of clients rarely have any. */
const WrittenRole = v.pipe(
  Name,
  v.check(
    (written) => !/^:|:$/.test(written),
    "must be role or client:role; write { role = … } for a role with a colon",
  ),
  v.transform((written): Role => {
    const colon = written.indexOf(":");
    return colon < 0 ? written : { client: written.slice(0, colon), role: written.slice(colon + 1) };
  }),
);

/** `{ role = … }` is a role of the realm, `{ client = …, role = … }` one of a client: for names that have a colon. */
const RoleTable = v.pipe(
  table({ client: v.exactOptional(Name), role: Name }),
  v.transform(({ client, role }): Role => (client === undefined ? role : { client, role })),
);

export const Roles = list<Role>(v.lazy((given) => (isTable(given) ? RoleTable : WrittenRole)));

/** As the file would have it: each role in one way only, so that equal texts are equal roles. */
export function writtenRole(role: Role): string {
  if (typeof role === "string") return role.includes(":") ? `{ role = ${JSON.stringify(role)} }` : role;
  const { client, role: name } = role;
  return client.includes(":")
    ? `{ client = ${JSON.stringify(client)}, role = ${JSON.stringify(name)} }`
    : `${client}:${name}`;
}

/** Warnings about texts with several colons. Judges what the source says: the settings do not tell how a role was written. */
export function doubtsAboutRoles(rules: unknown): Doubt[] {
  return tablesIn(rules).flatMap(([channel, rule]) => {
    const { roles } = rule;
    if (typeof roles !== "string" && !Array.isArray(roles)) return [];
    return splitAtCommas(roles).flatMap((role, index) => {
      if (typeof role !== "string" || role.split(":").length < 3) return [];
      const doubt =
        "has several colons: the first one ends the client; write { client = …, role = … } to say which it is";
      return [{ place: [channel, "roles", index], doubt }];
    });
  });
}

export function tablesIn(given: unknown): [string, Readonly<Record<string, unknown>>][] {
  return Object.entries(isTable(given) ? given : {}).flatMap(([name, entry]) =>
    isTable(entry) ? [[name, entry]] : [],
  );
}
