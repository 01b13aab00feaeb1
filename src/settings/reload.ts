import { realmsOf } from "./realms.ts";
import { items, type Settings } from "./schema.ts";
import { valueOf } from "./setting.ts";

/** The settings that a running service adopts. */
const reloaded = new Set(["api_keys", "ws_tokens", "require_bound_tokens", "channels"]);

/** Adopted, too, as long as they are there: a port does not change from HTTP to HTTPS. */
const tlsFiles = new Set(["tls_cert", "tls_key"]);
const isOnTls = ({ tls_cert }: Settings): boolean => tls_cert !== undefined;

/** The changed settings that take effect only after a restart. */
export function changedBeyondReload(before: Settings, after: Settings): string[] {
  return items
    .filter(({ path }) => !reloaded.has(path) && !(isOnTls(before) && isOnTls(after) && tlsFiles.has(path)))
    .filter((item) =>
      item.path === "keycloak.realms"
        ? !Bun.deepEquals(withoutRules(before), withoutRules(after))
        : !Bun.deepEquals(valueOf(before, item), valueOf(after, item)),
    )
    .map(({ path }) => path);
}

/** The realms without their channel rules, which are the only part of a realm that a reload adopts. */
function withoutRules({ keycloak }: Settings): unknown[] {
  return Array.from(keycloak.realms, ([name, realm]) => ({ name, ...realm, channels: undefined }));
}

/** Refuses changes that are accidents: half of a written file is mostly valid TOML, and opens or closes everything. */
export function refusedByReload(before: Settings, after: Settings): string[] {
  const problems: string[] = [];
  if (before.channels !== undefined && after.channels === undefined) {
    problems.push(
      "channels cannot be taken away by a reload: every channel would be open to every user. Restart for it",
    );
  }
  const issuersOf = (settings: Settings) => realmsOf(settings).map(({ name, issuer }) => `${name} ${issuer}`);
  if (!Bun.deepEquals(issuersOf(before), issuersOf(after))) {
    problems.push("the realms (keycloak.issuer, keycloak.realms) cannot be changed by a reload. Restart for it");
  }
  return problems;
}
