import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from "jose";
import * as v from "valibot";
import { issuerOf } from "./keycloak.ts";

/** What a page has of its user after the login. */
export interface Login {
  readonly access: string;
  readonly id: string;
  readonly refresh: string;
  readonly client: string;
  readonly realm: string;
  /** The keycloakID. */
  readonly sub: string;
  /** The Keycloak session. */
  readonly sid: string;
}

export interface LoginOptions {
  readonly realm?: string;
  readonly scope?: string;
  /** The client shows a key, to which Keycloak binds the tokens (RFC 9449). */
  readonly dpop?: boolean;
}

export interface Browser {
  /** The authorization-code flow with PKCE. Without a question, if the user has a session already. */
  login(user: string, client: string, options?: LoginOptions): Promise<Login>;
  /** RP-initiated logout, as keycloak-js does it. */
  logout(login: Login): Promise<void>;
}

const Tokens = v.object({ access_token: v.string(), id_token: v.string(), refresh_token: v.string() });
const Claims = v.object({ sub: v.string(), sid: v.string() });

/** A browser with cookies of its own, as far as a login needs one. */
export function createBrowser(): Browser {
  const cookies = new Map<string, string>();

  async function go(url: string, form?: Readonly<Record<string, string>>, headers = {}): Promise<Response> {
    const response = await fetch(url, {
      redirect: "manual",
      headers: { Cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; "), ...headers },
      ...(form && { method: "POST", body: new URLSearchParams(form) }),
    });
    for (const line of response.headers.getSetCookie()) {
      const { name, value, maxAge } = Bun.Cookie.parse(line);
      if (maxAge === 0) cookies.delete(name);
      else cookies.set(name, value);
    }
    return response;
  }

  async function login(
    user: string,
    client: string,
    { realm = "amper", scope = "openid", dpop = false }: LoginOptions = {},
  ): Promise<Login> {
    const redirect_uri = addressOf(client);
    const code_verifier = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
    const query = new URLSearchParams({
      client_id: client,
      redirect_uri,
      response_type: "code",
      scope,
      state: crypto.randomUUID(),
      code_challenge: new Bun.CryptoHasher("sha256").update(code_verifier).digest("base64url"),
      code_challenge_method: "S256",
    });
    let response = await go(`${endpoint(realm, "auth")}?${query.toString()}`);
    if (response.status === 200) {
      response = await go(await actionOf(response), { username: user, password: `the password of ${user}` });
    }
    const back = new URL(response.headers.get("location") ?? "about:blank").searchParams;
    if (back.get("state") !== query.get("state"))
      throw new Error(`no login: ${response.status} ${await response.text()}`);
    const code = back.get("code") ?? "";
    const tokens = endpoint(realm, "token");
    const grant = { grant_type: "authorization_code", client_id: client, redirect_uri, code, code_verifier };
    const answer = await go(tokens, grant, dpop ? { DPoP: await proofFor(tokens) } : {});
    const { access_token: access, id_token: id, refresh_token: refresh } = v.parse(Tokens, await answer.json());
    return { access, id, refresh, client, realm, ...v.parse(Claims, decodeJwt(id)) };
  }

  async function logout({ realm, id, client }: Login): Promise<void> {
    const query = new URLSearchParams({ id_token_hint: id, post_logout_redirect_uri: addressOf(client) });
    const response = await go(`${endpoint(realm, "logout")}?${query.toString()}`);
    if (response.headers.get("location")?.startsWith(addressOf(client)) !== true) {
      throw new Error(`no logout: ${response.status} ${await response.text()}`);
    }
  }

  return { login, logout };
}

/** Logout as an application does it that has no browser at hand. */
export async function logoutByRefreshToken({ realm, client, refresh }: Login): Promise<void> {
  const response = await fetch(endpoint(realm, "logout"), {
    method: "POST",
    body: new URLSearchParams({ client_id: client, refresh_token: refresh }),
  });
  if (response.status !== 204) throw new Error(`no logout: ${response.status} ${await response.text()}`);
}

function endpoint(realm: string, name: string): string {
  return `${issuerOf(realm)}/protocol/openid-connect/${name}`;
}

/** Nothing is ever sent there. */
function addressOf(client: string): string {
  return `https://${client}.example.com/`;
}

/** Shows a key of its own to Keycloak (RFC 9449 4.2). */
async function proofFor(url: string): Promise<string> {
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  return new SignJWT({ htm: "POST", htu: url, jti: crypto.randomUUID() })
    .setProtectedHeader({ alg: "ES256", typ: "dpop+jwt", jwk: await exportJWK(publicKey) })
    .setIssuedAt()
    .sign(privateKey);
}

async function actionOf(page: Response): Promise<string> {
  let action: string | null = null;
  const rewriter = new HTMLRewriter().on("form#kc-form-login", {
    element: (form) => void (action = form.getAttribute("action")),
  });
  const html = await rewriter.transform(page).text();
  if (action === null) throw new Error(`there is no login form: ${html}`);
  return String(action).replaceAll("&amp;", "&");
}
