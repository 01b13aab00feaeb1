import type { Outcome, Target } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { Log } from "./log.ts";
import { kindOf, type Metrics } from "./metrics.ts";

interface Who {
  readonly user: KeycloakId;
  readonly channel: Channel;
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
    },

    notified(accepted: {
      receipt: { id: string; connections: number; held: boolean };
      apiKey: { name: string };
      target: Target;
      requestId: string;
    }) {
      const { receipt, apiKey, target, requestId } = accepted;
      const { id, connections, held } = receipt;
      metrics().notified(target, connections);
      log.info("notified", { id, kind: kindOf(target), connections, held, key: apiKey.name, requestId });
    },

    revoked(user: KeycloakId, { connections }: Outcome, by: { key: string; id: string }) {
      log.info("user revoked", { keycloakID: user, connections, key: by.key, requestId: by.id });
    },

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

    keysFetched(event: { kind: string; keys?: number; reason?: string; failures?: number; retry_ms?: number }) {
      const { kind, ...fields } = event;
      metrics().jwksFetched(kind === "jwks_fetched");
      if (kind === "jwks_fetched") log.info("realm keys fetched", fields);
      else log.warn("realm keys not fetched", fields);
    },

    http: {
      onAnswered: ({ route, status, seconds }: { route: string; status: number; seconds: number | undefined }) =>
        metrics().answered(route, status, seconds),
      onProblem(problem: { route: string; code: string; id: string; address: string }) {
        const { id: requestId, ...fields } = problem;
        metrics().refused(problem.code);
        log.info("request refused", { ...fields, requestId });
      },
      onCrash: (error: unknown, requestId?: string) => log.crash(error, { requestId }),
    },
  };
}

export type Events = ReturnType<typeof createEvents>;
