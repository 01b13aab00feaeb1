import type { Target } from "../model/entry.ts";
import type { LogoutToken } from "../model/grant.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { Log } from "./log.ts";
import { kindOf, type Metrics } from "./metrics.ts";

interface Who {
  readonly user: KeycloakId;
  readonly channel: Channel;
}

interface KeysFetched {
  readonly kind: string;
  readonly keys?: number;
  readonly reason?: string;
  readonly failures?: number;
  readonly retry_ms?: number;
}

/** What the rooms report, as log lines and metrics: the one list of what can be seen of the service from outside. */
export function createEvents(log: Log, metrics: () => Metrics) {
  return {
    connections: {
      connected({ channel }: Who, resumption: { cause: string | undefined; missed: { readonly length: number } }) {
        const { cause, missed } = resumption;
        metrics().resumed(cause, missed.length);
        log.debug("connected", { channel, recovered: cause === undefined, cause });
      },
      disconnected({ channel }: Who, reason: string) {
        metrics().disconnected(reason);
        log.debug("disconnected", { channel, reason });
      },
      refused(code: string) {
        metrics().refused(code);
        log.info("connection refused", { code });
      },
      closing({ user, channel }: Who, code: string) {
        metrics().closing(code);
        log.info("connection closing", { code, keycloakID: user, channel });
      },
      dropped: () => metrics().droppedEvent(),
      exceeded(limit: "messages" | "bytes") {
        metrics().limited(`max_client_${limit}`);
        log.info("a client sent too much", { limit: `max_client_${limit}` });
      },
    },

    notified(accepted: {
      receipt: { id: string; connections: number; held: boolean };
      apiKey: { name: string };
      target: Target;
      requestId: string;
    }) {
      const { receipt, apiKey, target, requestId } = accepted;
      const { id, connections, held } = receipt;
      metrics().notified(target, connections, apiKey.name);
      log.info("notified", { id, kind: kindOf(target), connections, held, key: apiKey.name, requestId });
    },

    /** `through`: a WS token or a realm, by name. */
    authorized(through: string, user: KeycloakId | null) {
      metrics().authorized(through);
      log.debug("authorized", { through, keycloakID: user });
    },

    revocations: {
      byOperator(user: KeycloakId, connections: number, by: { key: string; id: string }) {
        metrics().revoked("operator");
        log.info("user revoked", { keycloakID: user, connections, key: by.key, requestId: by.id });
      },
      loggedOut({ issuer, user, session }: LogoutToken, connections: number, requestId: string) {
        metrics().revoked(session === null ? "user_logout" : "session_logout");
        log.info("logged out", { issuer, keycloakID: user, session, connections, requestId });
      },
      onUnsaved(unsaved: number) {
        if (unsaved > 0) log.error("revocations are not in the journal yet", { unsaved });
        else log.info("revocations are in the journal");
      },
      lost({ user, session }: { readonly user?: KeycloakId | undefined; readonly session?: string | undefined }) {
        log.error("revocation lost: the journal could not take it", { keycloakID: user, session });
      },
    },

    /** A limit was met, by the name of its setting. */
    limited: (limit: string) => metrics().limited(limit),

    overflowed: ({ ws }: { ws: object | null }) => metrics().backlogClosed(ws === null ? "polling" : "websocket"),

    released: (why: "confirmed" | "expired", count: number) => metrics().released(why, count),

    journal: {
      onWaiting: (owner: string) => log.info("waiting for the journal", { owner }),
      onHealth(reason: string | undefined) {
        if (reason === undefined) log.info("journal is well again");
        else log.error("journal fails", { reason });
      },
      onCommit: (seconds: number, entries: number) => metrics().committed(seconds, entries),
    },

    keysFetched: (realm: string) => (event: KeysFetched) => {
      const { kind, ...fields } = event;
      metrics().jwksFetched(realm, kind === "jwks_fetched");
      if (kind === "jwks_fetched") log.info("realm keys fetched", { realm, ...fields });
      else log.warn("realm keys not fetched", { realm, ...fields });
    },

    untrustedProxy(peer: string) {
      const reason = "it sends X-Forwarded-For: set trust_proxy_hops; until then limits per address are off for it";
      log.warn("a proxy that is not declared", { peer, reason });
    },

    http: {
      onAnswered: ({ route, status, seconds }: { route: string; status: number; seconds: number | undefined }) =>
        metrics().answered(route, status, seconds),
      onProblem(problem: { route: string; code: string; id: string; address: string }) {
        const { id: requestId, ...fields } = problem;
        metrics().refused(problem.code);
        // In a line of its own: what is refused here is sent once, and may be a session that lives on.
        if (problem.route === "/backchannel-logout") log.warn("logout refused", { ...fields, requestId });
        else log.info("request refused", { ...fields, requestId });
      },
      onCrash: (error: unknown, requestId?: string) => log.crash(error, { requestId }),
    },
  };
}

export type Events = ReturnType<typeof createEvents>;
