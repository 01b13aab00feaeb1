import { items, valueOf } from "./items.ts";
import type { Settings } from "./schema.ts";

/** What a running service takes on. */
const reloaded = new Set(["api_keys", "ws_tokens", "require_bound_tokens", "channels"]);

/** The settings that have changed and count only after a restart. */
export function changedBeyondReload(before: Settings, after: Settings): string[] {
  return items
    .filter(({ path }) => !reloaded.has(path))
    .filter((item) =>
      item.path === "keycloak.realms"
        ? !Bun.deepEquals(withoutRules(before), withoutRules(after))
        : !Bun.deepEquals(valueOf(before, item), valueOf(after, item)),
    )
    .map(({ path }) => path);
}

/** The channel rules of a realm are taken on, and nothing else of it. */
function withoutRules({ keycloak }: Settings): unknown[] {
  return Array.from(keycloak.realms, ([name, realm]) => ({ name, ...realm, channels: undefined }));
}

/** What would be an accident: a file that is half written is mostly good TOML, and opens or closes everything. */
export function refusedByReload(before: Settings, after: Settings): string[] {
  if (before.channels === undefined || after.channels !== undefined) return [];
  return ["channels cannot be taken away by a reload: every channel would be open to every user. Restart the service"];
}
