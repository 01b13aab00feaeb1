import type { Channel, KeycloakId } from "../model/names.ts";
import { refusals as sentences, type ClosingCode, type RefusalCode } from "../model/refusal.ts";
import type { Log } from "./log.ts";
import type { Metrics, SharedCounters } from "./metrics.ts";

interface Who {
  readonly user: KeycloakId;
  readonly channel: Channel;
}

/** Where a page that asks to be let in comes from, and who it says it is: nothing of it need be true. */
interface Newcomer {
  readonly keycloakID: KeycloakId | undefined;
  readonly channel: Channel | undefined;
  readonly address: string;
  readonly transport: string;
}

/** Pages that connect, are refused, and leave. */
export function connectionEvents(log: Log, metrics: Metrics, { refusals, limited }: SharedCounters) {
  const recovered = metrics.counter("connections_recovered_total", "Connections that came back and missed nothing.");
  const notRecovered = metrics.counter("connections_not_recovered_total", "Other connections, by cause.", "cause");
  const replayed = metrics.counter("replayed_total", "Notifications replayed to recovered connections.");
  const disconnects = metrics.counter("disconnects_total", "Ended connections by reason.", "reason");
  const closings = metrics.counter("closings_total", "Connections that the service ended, by code.", "code");
  const backlogCloses = metrics.counter(
    "backlog_closes_total",
    "Connections closed because they did not read.",
    "transport",
  );
  const dropped = metrics.counter(
    "client_events_dropped_total",
    "Packets that clients sent although they only receive.",
  );

  const postponed = metrics.counter(
    "connections_postponed_total",
    "Connections refused for now: only a wall clock that was just set says that their tokens have expired.",
  );
  const answersLost = metrics.counter("poll_answers_lost_total", "Polls repeated because their answer was lost.");

  return {
    /** `cause`: why it was not recovered; undefined: it was, and `missed` notifications were replayed. */
    connected({ user, channel }: Who, { cause, missed }: { cause: string | undefined; missed: number }): void {
      if (cause === undefined) recovered.inc();
      else notRecovered.inc({ cause });
      replayed.inc(missed);
      log.debug("connected", { keycloakID: user, channel, recovered: cause === undefined, cause });
    },
    disconnected({ user, channel }: Who, reason: string): void {
      disconnects.inc({ reason });
      log.debug("disconnected", { keycloakID: user, channel, reason });
    },
    refused(code: RefusalCode, from: Newcomer): void {
      refusals.inc({ code });
      log.info("connection refused", { code, reason: sentences[code], ...from });
    },
    /** `namespace`: what the client asked for instead of the main one. */
    foreignNamespace(namespace: string, from: { address: string; transport: string }): void {
      refusals.inc({ code: "invalid_namespace" });
      const reason =
        'the path in the address of `io` is a namespace: for a service at a path, io("https://HOST", { path: "/PATH/socket.io/" })';
      log.info("connection refused", { code: "invalid_namespace", reason, namespace, ...from });
    },
    /** Only a wall clock that was just set says that the token has expired. */
    postponed(from: Newcomer): void {
      postponed.inc();
      log.info("connection postponed: the wall clock was set", { ...from });
    },
    /** What websockets were not sent that have ended fills `backlog_total_bytes`. */
    crowded(from: Newcomer): void {
      limited.inc({ limit: "backlog_total_bytes" });
      log.warn("connection postponed: too many unsent bytes (backlog_total_bytes)", { ...from });
    },
    closing({ user, channel }: Who, code: ClosingCode): void {
      closings.inc({ code });
      log.info("connection closing", { code, keycloakID: user, channel });
    },
    /** A connection lagged too far, or lagged most when all together did. */
    overflowed(
      { user, channel, ws }: Who & { ws: object | null },
      limit: "backlog_bytes" | "backlog_total_bytes",
    ): void {
      const transport = ws === null ? "polling" : "websocket";
      backlogCloses.inc({ transport });
      limited.inc({ limit });
      log.info("connection lags too far", { limit, transport, keycloakID: user, channel });
    },
    /** A poll came again, because its answer was lost on the way: the session has ended. */
    answerLost: (): void => answersLost.inc(),
    /** A client sent an event, which nobody listens to. */
    dropped: (): void => dropped.inc(),
    /** A client sent more than it may: its connection is closed. `peer`: what is known is the other end, maybe a proxy. */
    sentTooMuch(limit: "max_client_messages" | "max_client_bytes", from: { address: string } | { peer: string }): void {
      limited.inc({ limit });
      log.info("a client sent too much", { limit, ...from });
    },
  };
}
