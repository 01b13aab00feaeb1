import type { Revoked } from "../model/entry.ts";
import type { LogoutToken } from "../model/grant.ts";
import type { Channels, KeycloakId, SessionId } from "../model/names.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** How a fetch of a realm's keys went. */
export type JwksEvent =
  | { readonly kind: "jwks_fetched"; readonly keys: number; readonly problem?: string | undefined }
  | {
      readonly kind: "jwks_failed";
      readonly reason: string;
      readonly detail?: string | undefined;
      readonly failures: number;
      readonly retry_ms: number;
    };

/** Whom a logout came from. */
interface LogoutSender {
  readonly requestId: string;
  readonly client: { readonly address: string };
}

interface Authorized {
  readonly through: string;
  readonly user: KeycloakId | null;
  readonly session: SessionId | null;
  readonly channels: Channels;
  readonly expiresAt: string;
  readonly address: string;
  readonly requestId: string;
}

/** Who is let in, who is thrown out, and the keys that tell. */
export function accessEvents(log: Log, metrics: Metrics) {
  const authorized = metrics.counter(
    "authorizations_total",
    "Issued websocket tokens by WS token or realm.",
    "through",
  );
  const revoked = metrics.counter(
    "revocations_total",
    "Users and Keycloak sessions that were thrown out, by cause.",
    "cause",
  );
  const lostLogouts = metrics.counter(
    "logouts_lost_total",
    "Logouts that were given up before they could be verified, by reason.",
    "reason",
  );
  const fetches = metrics.counter("jwks_fetches_total", "Fetches of a realm's keys by result.", "realm", "result");

  return {
    /** Somebody was given a websocket token. `through`: `ws_token NAME` or `realm NAME`. */
    authorized({ user, channels, ...grant }: Authorized): void {
      authorized.inc({ through: grant.through });
      log.info("authorized", { keycloakID: user, channels: channels === "*" ? "*" : channels.join(" "), ...grant });
    },
    revokedByOperator(user: KeycloakId, connections: number, by: { key: string; requestId: string }): void {
      revoked.inc({ cause: "operator" });
      log.info("user revoked", { keycloakID: user, connections, ...by });
    },
    loggedOut({ issuer, user, session }: LogoutToken, connections: number, requestId: string): void {
      revoked.inc({ cause: session === null ? "user_logout" : "session_logout" });
      log.info("logged out", { issuer, keycloakID: user, session, connections, requestId });
    },
    /** A logout that had to wait for the realm's keys, and was none. */
    logoutRefused(detail: string, { requestId, client }: LogoutSender): void {
      log.warn("logout refused", { detail, requestId, address: client.address });
    },
    /** A logout that could not be verified, and is given up: what it would have ended lives on. */
    logoutLost(reason: "no_room" | "too_late" | "stopped", { requestId, client }: LogoutSender): void {
      lostLogouts.inc({ reason });
      log.error("logout lost: the realm's keys could not be had", { reason, requestId, address: client.address });
    },
    /** How many revocations wait for the journal, whenever it refuses one; 0 when it has taken the last. */
    revocationsUnsaved(unsaved: number): void {
      if (unsaved > 0) log.error("revocations are not in the journal yet", { unsaved });
      else log.info("revocations are in the journal");
    },
    revocationLost({ user, session }: Revoked): void {
      log.error("revocation lost: the journal could not take it", { keycloakID: user, session });
    },
    keysFetched(realm: string, event: JwksEvent): void {
      const { kind, ...fields } = event;
      fetches.inc({ realm, result: kind === "jwks_fetched" ? "ok" : "failed" });
      if (kind === "jwks_fetched" && event.problem !== undefined) log.warn("realm keys fetched", { realm, ...fields });
      else if (kind === "jwks_fetched") log.info("realm keys fetched", { realm, ...fields });
      else log.warn("realm keys not fetched", { realm, ...fields });
    },
  };
}
