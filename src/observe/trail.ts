import type { Channel, KeycloakId } from "../model/names.ts";

/** What is known of a request, for its log lines. Those who judge the request add what they find. */
export interface Trail {
  readonly requestId: string;
  /** Of the caller's trace (W3C Trace Context). */
  readonly traceId?: string | undefined;
  /** The name of its API key, also of one that has expired. */
  key?: string | undefined;
  /** What it asks for a websocket token with, also where that has expired: `ws_token NAME` or `realm NAME`. */
  through?: string | undefined;
  /** Of its token, or as the caller claims. */
  keycloakID?: KeycloakId | undefined;
  /** Whom its notification is for. */
  keycloak?: readonly KeycloakId[] | undefined;
  channel?: Channel | readonly Channel[] | undefined;
  /** Where it is about a connection: the connection's, and what that comes by. */
  connectionId?: string | undefined;
  transport?: string | undefined;
}
