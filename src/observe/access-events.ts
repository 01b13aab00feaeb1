import type { Revoked } from "../model/entry.ts";
import type { LogoutToken } from "../model/grant.ts";
import type { Channels, KeycloakId, SessionId } from "../model/names.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Trail } from "./trail.ts";

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
  readonly trail: Trail;
  readonly client: { readonly address: string };
}

interface Authorized extends Trail {
  readonly user: KeycloakId | null;
  readonly session: SessionId | null;
  readonly channels: Channels;
  readonly expiresAt: string;
  readonly address: string;
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
      const { through = "" } = grant;
      authorized.inc({ through });
      const whom = { keycloakID: user, channels: channels === "*" ? "*" : channels.join(" ") };
      log.info("authorized", { ...grant, ...whom }, user ?? through);
    },
    revokedByOperator(user: KeycloakId, connections: number, trail: Trail): void {
      revoked.inc({ cause: "operator" });
      log.info("user revoked", { ...trail, keycloakID: user, connections }, user);
    },
    loggedOut({ issuer, user, session }: LogoutToken, connections: number, trail: Trail): void {
      revoked.inc({ cause: session === null ? "user_logout" : "session_logout" });
      log.info("logged out", { ...trail, issuer, keycloakID: user, session, connections }, user ?? issuer);
    },
    /** A logout that had to wait for the realm's keys, and was none. */
    logoutRefused(detail: string, { trail, client }: LogoutSender): void {
      log.warn("logout refused", { detail, ...trail, address: client.address });
    },
    /** A logout that could not be verified, and is given up: what it would have ended lives on. */
    logoutLost(reason: "no_room" | "too_late" | "stopped", { trail, client }: LogoutSender): void {
      lostLogouts.inc({ reason });
      log.error("logout lost: the realm's keys could not be had", { reason, ...trail, address: client.address });
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
