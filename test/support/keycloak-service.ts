import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, type Run } from "./binary.ts";
import { authorize, connected, type Page } from "./client.ts";
import { folder } from "./folder.ts";
import { issuerOf } from "./keycloak.ts";
import type { Login } from "./keycloak-login.ts";

/** A channel for each kind of rule. */
export const channels = `
  [channels.news]
  [channels.msf]
  roles = ["msf-user"]
  [channels.desk]
  roles = ["msf-web:editor"]
  [channels.b2b]
  clients = ["b2b-web"]
`;

/** The executable, for the users of the realm `amper`. `keycloak` is added to the settings of that name. */
export function serve({ keycloak = "", rest = channels }: { keycloak?: string; rest?: string } = {}): Promise<Run> {
  const path = join(folder(), "amper-channels.toml");
  writeFileSync(path, `[keycloak]\nissuer = "${issuerOf("amper")}"\n${keycloak}\n${rest}`);
  return launch({ args: [`--config=${path}`] });
}

/** `GET /authorize` with any token. */
export function ask(url: string, token: string): Promise<Response> {
  return fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${token}` } });
}

/** A page of the user that is logged in, connected with a websocket token of its own. */
export async function open(url: string, { access, sub }: Login, channel: string): Promise<Page & { token: string }> {
  const { token } = await authorize(url, "", access);
  return { ...(await connected(url, sub, channel, { token })), token };
}
