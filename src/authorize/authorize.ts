import * as v from "valibot";
import type { Credential } from "../model/grant.ts";
import { Problem } from "../model/problem.ts";
import { KeycloakId, type Channel, type Channels } from "../model/names.ts";
import { ruleIds, type Grantors } from "./grantors.ts";
import type { AccessToken } from "./keycloak.ts";
import type { Hashed, Secrets } from "./secrets.ts";
import type { Claims, Grant, Tokens } from "./tokens.ts";

/** A WS token of a front service, as configured. */
export interface WsToken extends Hashed {
  readonly channels: Channels;
  readonly require_bound_tokens: boolean;
}

/** Who may join a channel; an empty list asks nothing. */
export interface ChannelRule {
  readonly roles: readonly string[];
  readonly clients: readonly string[];
}

/** The answer of `GET /authorize`. */
export interface Authorization {
  readonly token: string;
  readonly expiresIn: number;
  readonly expiresAt: string;
  readonly keycloakID: KeycloakId | null;
  readonly channels: Channels;
}

export interface AuthorizeNeeds {
  readonly wsTokens: Secrets<WsToken>;
  /** Throws `rate_limited`. */
  readonly limitRate: (wsToken: WsToken) => void;
  readonly idOf: Grantors["idOf"];
  /** Undefined where no realm is configured. Throws `token_invalid`, or `unavailable` when the realm's keys cannot be had. */
  readonly verifyAccessToken: ((token: string) => Promise<AccessToken>) | undefined;
  readonly isRevoked: (credential: Credential) => boolean;
  readonly deadUpTo_ms: (user: KeycloakId) => number;
  readonly issue: Tokens["issue"];
  readonly requiresBoundTokens: () => boolean;
  readonly onAuthorized: (through: { wsToken: string } | { issuer: string }, user: KeycloakId | null) => void;
  /** The rules of a realm. Undefined: any channel, open to every user. */
  readonly rulesOf: (issuer: string) => ReadonlyMap<Channel, ChannelRule> | undefined;
}

export type Authorize = (secret: string | undefined, query: URLSearchParams) => Promise<Authorization>;

const details = {
  no_channel: "The user's roles and client allow none of the channels.",
  no_roles:
    "The token has no roles, and there is no channel that asks for none. (Into a lightweight access token the mappers of" +
    " roles put them only with their setting Add to lightweight access token.)",
} as const;

/** `GET /authorize`: a websocket token for a front service's WS token, or for a user's Keycloak access token. */
export function createAuthorize(needs: AuthorizeNeeds): Authorize {
  return async function authorize(secret, query) {
    if (secret === undefined) {
      throw new Problem("token_invalid", { detail: "Send the header `Authorization: Bearer TOKEN`.", guess: false });
    }
    const wsToken = needs.wsTokens.find(secret);
    if (wsToken !== undefined) {
      needs.limitRate(wsToken);
      return answer(forFrontService(wsToken, boundTo(query)));
    }
    // Anything that is not three dotted parts was meant to be a WS token.
    if (needs.verifyAccessToken === undefined || secret.split(".").length !== 3) {
      throw new Problem("token_invalid", {
        detail: "This is not a WS token of this service, or it has expired.",
        guess: !needs.wsTokens.hasExpired(secret),
      });
    }
    return answer(forUser(await needs.verifyAccessToken(secret)));
  };

  function forFrontService(wsToken: WsToken, user: KeycloakId | null): Granted {
    if (user === null && (needs.requiresBoundTokens() || wsToken.require_bound_tokens)) {
      throw new Problem("unbound_forbidden", { detail: "Add ?keycloakID=… for the user whom the token is for." });
    }
    const notAfter_ms = wsToken.expires_at?.getTime();
    const via = needs.idOf(`ws_token ${wsToken.sha256}`);
    needs.onAuthorized({ wsToken: wsToken.name }, user);
    return issue({ user, channels: wsToken.channels, rules: [], session: null, via, notAfter_ms });
  }

  function forUser({ user, session, issuedAt_ms, ...access }: AccessToken): Granted {
    if (needs.isRevoked({ user, session, issuedAt_ms })) {
      throw new Problem("token_invalid", {
        detail: "The user was logged out after this token was issued.",
        guess: false,
      });
    }
    const rules = needs.rulesOf(access.issuer);
    const met = rules && [...rules].filter(([, rule]) => meets(access, rule));
    if (met?.length === 0) {
      throw new Problem("no_channel", { detail: access.roles.size === 0 ? details.no_roles : details.no_channel });
    }
    needs.onAuthorized({ issuer: access.issuer }, user);
    return issue({
      user,
      channels: met?.map(([channel]) => channel) ?? "*",
      rules: ruleIds(met ?? []),
      session,
      via: needs.idOf(`realm ${access.issuer}`),
    });
  }

  function issue(grant: Grant): Granted {
    const after_ms = grant.user === null ? undefined : needs.deadUpTo_ms(grant.user);
    const { token, claims } = needs.issue({ ...grant, after_ms });
    return { ...claims, token };
  }
}

type Granted = Claims & { readonly token: string };

function meets(access: Pick<AccessToken, "roles" | "client">, rule: ChannelRule): boolean {
  const hasRole = rule.roles.length === 0 || rule.roles.some((role) => access.roles.has(role));
  const fromClient = rule.clients.length === 0 || (access.client !== null && rule.clients.includes(access.client));
  return hasRole && fromClient;
}

function boundTo(query: URLSearchParams): KeycloakId | null {
  const values = query.getAll("keycloakID");
  if (values.length === 0) return null;
  const user = v.safeParse(KeycloakId, values[0]);
  if (values.length === 1 && user.success) return user.output;
  const message = user.success ? "given more than once" : user.issues[0].message;
  throw new Problem("invalid_request", { errors: [{ path: "keycloakID", message }] });
}

function answer(granted: Granted): Authorization {
  return {
    token: granted.token,
    expiresIn: (granted.expiresAt_ms - granted.issuedAt_ms) / 1000,
    expiresAt: new Date(granted.expiresAt_ms).toISOString(),
    keycloakID: granted.user,
    channels: granted.channels,
  };
}
