import * as v from "valibot";
import { administrator, keycloakUrl } from "./keycloak.ts";

const Token = v.object({ access_token: v.string() });

/** The Admin REST API: `path` is below `/admin/realms/`. */
export async function admin(method: string, path: string, body?: unknown): Promise<unknown> {
  const login = await fetch(`${keycloakUrl()}/realms/master/protocol/openid-connect/token`, {
    method: "POST",
    body: new URLSearchParams({ grant_type: "password", client_id: "admin-cli", ...administrator }),
  });
  const { access_token } = v.parse(Token, await login.json());
  const response = await fetch(`${keycloakUrl()}/admin/realms/${path}`, {
    method,
    headers: { Authorization: `Bearer ${access_token}`, "Content-Type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

const Found = v.tuple([v.looseObject({ id: v.string(), attributes: v.record(v.string(), v.string()) })]);

/** Changes a client's attributes, and leaves the others as they are. */
export async function setAttributes(
  realm: string,
  clientId: string,
  attributes: Readonly<Record<string, string>>,
): Promise<void> {
  const [client] = v.parse(Found, await admin("GET", `${realm}/clients?clientId=${clientId}`));
  await admin("PUT", `${realm}/clients/${client.id}`, {
    ...client,
    attributes: { ...client.attributes, ...attributes },
  });
}

/** What an administrator does to a client: `path` is below the client. */
export async function adminOfClient(
  method: string,
  realm: string,
  clientId: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const [client] = v.parse(Found, await admin("GET", `${realm}/clients?clientId=${clientId}`));
  return admin(method, `${realm}/clients/${client.id}/${path}`, body);
}
