import { decodeJwt } from "jose";
import * as v from "valibot";
import type { Client } from "../limits/address.ts";
import type { Gate } from "../limits/gate.ts";
import { KeycloakId, SessionId, type Channels } from "../model/names.ts";
import { Guess, Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Trail } from "../observe/trail.ts";
import type { WsToken } from "../settings/credentials.ts";
import type { Role } from "../settings/roles.ts";
import type { ChannelRule } from "../settings/rules.ts";
import type { Access } from "./access.ts";
import { ruleIds, type Grantor } from "./grantors.ts";
import { TokenRefused } from "./jwt.ts";
import type { AccessToken } from "./keycloak.ts";
import type { Realms } from "./realms.ts";
import type { Revocations } from "./revocations.ts";
import type { Grant, Tokens } from "./tokens.ts";

/** The answer of `GET /authorize`. */
export interface Authorization {
  readonly token: string;
  readonly expiresIn: number;
  readonly expiresAt: string;
  readonly keycloakID: KeycloakId | null;
  readonly channels: Channels;
}

export interface AuthorizeRequest {
  /** Its bearer token. */
  readonly secret: string | undefined;
  /** The scheme of its header Authorization, lower-case; undefined: it has none. */
  readonly scheme: string | undefined;
  readonly query: URLSearchParams;
  readonly client: Client;
  readonly trail: Trail;
}

/** Judges the token first: a refusal that costs nothing takes nothing from the rate of its address, which others share. */
export type Authorize = (request: AuthorizeRequest) => Promise<Authorization>;

const details = {
  missing: "Send the header `Authorization: Bearer TOKEN`.",
  dpop:
    "Proofs of possession (DPoP) are not taken here: let Keycloak issue a bearer token to this audience, and send it as" +
    " `Authorization: Bearer TOKEN`.",
  websocket:
    "This is a websocket token, which opens connections: send the WS token or the Keycloak access token that it was issued for.",
  unknown: "This is not a WS token of this service, or it has expired.",
  logged_out: "The user was logged out after this token was issued.",
  unbound: "Add ?keycloakID=… for the user whom the token is for.",
  no_channel: "The user's roles and client allow none of the channels.",
  no_roles:
    "The token has no roles, and there is no channel that asks for none. (Into a lightweight access token the mappers of" +
    " roles put them only with their setting Add to lightweight access token.)",
} as const;

/** `GET /authorize`: a websocket token for a front service's WS token, or for a user's Keycloak access token. */
export function createAuthorize(needs: {
  readonly access: Access;
  readonly tokens: Tokens;
  readonly revocations: Revocations;
  readonly realms: Realms | undefined;
  readonly gate: Pick<Gate, "authorize" | "signature" | "frontService">;
  readonly events: Pick<Events["access"], "authorized">;
}): Authorize {
  const { access, tokens, revocations, realms, gate, events } = needs;

  return async function authorize({ secret, scheme, query, client, trail }) {
    const by = { address: client.address, trail };
    if (secret === undefined) {
      throw new Problem("token_invalid", { detail: scheme === "dpop" ? details.dpop : details.missing });
    }
    const wsToken = access.wsTokens.find(secret);
    if (wsToken !== "unknown") trail.through = `ws_token ${access.wsTokens.nameOf(secret)}`;
    if (typeof wsToken === "object") {
      gate.authorize(client);
      gate.frontService(wsToken);
      return forFrontService(wsToken, boundTo(query), by);
    }
    // Ours, and so no guess.
    if (tokens.verify(secret) !== "forged") throw new Problem("token_invalid", { detail: details.websocket });
    // Anything that is not three dotted parts was meant to be a WS token.
    if (realms !== undefined && secret.split(".").length === 3) {
      gate.signature(client);
      const accessToken = await verified(realms, secret, trail);
      gate.authorize(client);
      return forUser(accessToken, by);
    }
    if (wsToken === "expired") throw new Problem("token_invalid", { detail: details.unknown });
    throw new Guess("token_invalid", { detail: details.unknown });
  };

  function forFrontService(wsToken: WsToken, { user, session }: Bond, by: Asker): Authorization {
    by.trail.keycloakID = user ?? undefined;
    if (user === null && access.bindsToUser(wsToken))
      throw new Problem("unbound_forbidden", { detail: details.unbound });
    const notAfter_ms = wsToken.expires_at?.getTime();
    const grant = { user, channels: wsToken.channels, rules: [], session, notAfter_ms };
    return issue(`ws_token ${wsToken.sha256}`, grant, by);
  }

  function forUser(token: AccessToken, by: Asker): Authorization {
    const { user, session, realm, issuer } = token;
    Object.assign(by.trail, { keycloakID: user, through: `realm ${realm}` });
    if (revocations.endsOfRealm(token)) throw new Problem("token_invalid", { detail: details.logged_out });
    const rules = access.rulesOf(issuer);
    const met = rules && [...rules].filter(([, rule]) => meets(token, rule));
    if (met?.length === 0) {
      throw new Problem("no_channel", { detail: hasRoles(token) ? details.no_channel : details.no_roles });
    }
    const channels: Channels = met?.map(([channel]) => channel) ?? "*";
    const grant = { user, channels, rules: ruleIds(met ?? []), session, accessIssuedAt_ms: token.issuedAt_ms };
    return issue(`realm ${issuer}`, grant, by);
  }

  function issue(grantor: Grantor, grant: Omit<Grant, "via" | "selection">, { address, trail }: Asker): Authorization {
    const { user, session, channels } = grant;
    const { token, issuedAt_ms, expiresAt_ms } = tokens.issue({
      ...grant,
      via: access.idOf(grantor),
      selection: channels === "*" ? undefined : () => access.select(grantor, channels),
    });
    const expiresAt = new Date(expiresAt_ms).toISOString();
    events.authorized({ ...trail, address, user, session, channels, expiresAt });
    return { token, expiresIn: (expiresAt_ms - issuedAt_ms) / 1000, expiresAt, keycloakID: user, channels };
  }
}

async function verified(realms: Realms, token: string, trail: Trail): Promise<AccessToken> {
  try {
    return await realms.verify(token);
  } catch (error) {
    if (!(error instanceof TokenRefused)) throw error;
    trail.keycloakID = claimedBy(token);
    throw tokenProblem(error);
  }
}

/** Whom a token that was refused says that it is of. */
function claimedBy(token: string): KeycloakId | undefined {
  try {
    return v.parse(Claimed, decodeJwt(token)).sub;
  } catch {
    return undefined;
  }
}
const Claimed = v.object({ sub: v.fallback(v.optional(KeycloakId), undefined) });

/** How a refused access token is answered. */
export function tokenProblem({ why, message }: TokenRefused): Problem {
  return new (why === "forged" ? Guess : Problem)("token_invalid", { detail: message });
}

function meets(token: AccessToken, rule: ChannelRule): boolean {
  const { realm, ofClient } = token.roles;
  const has = (role: Role) =>
    typeof role === "string" ? realm.has(role) : ofClient.get(role.client)?.has(role.role) === true;
  const hasRole = rule.roles.length === 0 || rule.roles.some(has);
  const fromClient = rule.clients.length === 0 || (token.client !== null && rule.clients.includes(token.client));
  return hasRole && fromClient;
}

function hasRoles({ roles }: AccessToken): boolean {
  return roles.realm.size > 0 || roles.ofClient.values().some(({ size }) => size > 0);
}

/** Where a request for a token came from. */
interface Asker {
  readonly address: string;
  readonly trail: Trail;
}

/** Whom a front service asks a token for. */
interface Bond {
  readonly user: KeycloakId | null;
  readonly session: SessionId | null;
}

function boundTo(query: URLSearchParams): Bond {
  const user = parameter(query, "keycloakID", KeycloakId);
  const session = parameter(query, "sid", SessionId);
  if (session === null || user !== null) return { user, session };
  throw new Problem("invalid_request", { errors: [{ path: "sid", message: "needs the keycloakID of its user" }] });
}

function parameter<T>(query: URLSearchParams, path: string, schema: v.GenericSchema<string, T>): T | null {
  const values = query.getAll(path);
  if (values.length === 0) return null;
  const value = v.safeParse(schema, values[0]);
  if (values.length === 1 && value.success) return value.output;
  const message = value.success ? "given more than once" : value.issues[0].message;
  throw new Problem("invalid_request", { errors: [{ path, message }] });
}
