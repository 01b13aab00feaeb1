import type { Channel, KeycloakId } from "../model/names.ts";
import { refusals as sentences, type ClosingCode, type RefusalCode } from "../model/refusal.ts";
import type { Log } from "./log.ts";
import type { Metrics, SharedCounters } from "./metrics.ts";

/** An engine connection, and who is on it, or claims to be. */
export interface Who {
  readonly id: string;
  readonly engine: { readonly transport: { readonly name: string } };
  readonly address: string;
  readonly user?: KeycloakId | undefined;
  readonly channel?: Channel | undefined;
}

/** One that has been live. */
interface Live extends Who {
  readonly user: KeycloakId;
  readonly connected_ms: number;
  /** Notifications that were handed to it. */
  readonly delivered: number;
  /** Why the service ended it; undefined: it did not. */
  readonly ending: string | undefined;
}

/** What a websocket token says that was refused. */
interface Issued {
  readonly issuedTo: KeycloakId | undefined;
  readonly allows: readonly string[] | undefined;
  readonly expiresAt: string;
  readonly through: string | undefined;
}

/** What every line about a connection says of it. */
export function about({ id, user, channel, engine, address }: Who) {
  return { connectionId: id, keycloakID: user, channel, transport: engine.transport.name, address };
}

/** Rounded to milliseconds. */
export function secondsSince(started_ms: number): number {
  return Math.round(performance.now() - started_ms) / 1000;
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
    connected(who: Who, { cause, missed }: { cause: string | undefined; missed: number }): void {
      if (cause === undefined) recovered.inc();
      else notRecovered.inc({ cause });
      replayed.inc(missed);
      log.info("connected", { ...about(who), recovered: cause === undefined, cause, missed }, who.user);
    },
    /** @param reason Socket.IO's, which says no more than that we ended it where we did. */
    disconnected(who: Live, reason: string): void {
      disconnects.inc({ reason });
      const seconds = secondsSince(who.connected_ms);
      const why = who.ending ?? reason;
      log.info("disconnected", { ...about(who), reason: why, seconds, notifications: who.delivered }, who.user);
    },
    refused(code: RefusalCode, from: Who, token: Issued | undefined): void {
      refusals.inc({ code });
      log.info("connection refused", { code, reason: sentences[code], ...about(from), ...token }, code);
    },
    /** `namespace`: what the client asked for instead of the main one. */
    foreignNamespace(namespace: string, from: Who): void {
      const code = "invalid_namespace";
      refusals.inc({ code });
      const reason =
        'the path in the address of `io` is a namespace: for a service at a path, io("https://HOST", { path: "/PATH/socket.io/" })';
      log.info("connection refused", { code, reason, namespace, ...about(from) }, code);
    },
    /** Only a wall clock that was just set says that the token has expired. */
    postponed(from: Who): void {
      postponed.inc();
      log.info("connection postponed: the wall clock was set", about(from));
    },
    /** What websockets were not sent that have ended fills `backlog_total_bytes`. */
    crowded(from: Who): void {
      limited.inc({ limit: "backlog_total_bytes" });
      log.warn("connection postponed: too many unsent bytes (backlog_total_bytes)", about(from));
    },
    closing(who: Who, code: ClosingCode): void {
      closings.inc({ code });
      log.info("connection closing", { code, ...about(who) }, code);
    },
    /** A connection lagged too far, or lagged most when all together did. */
    overflowed(who: Who, limit: "backlog_bytes" | "backlog_total_bytes"): void {
      backlogCloses.inc({ transport: who.engine.transport.name });
      limited.inc({ limit });
      log.info("connection lags too far", { limit, ...about(who) }, who.user);
    },
    /** A poll came again, because its answer was lost on the way: the session has ended. */
    answerLost: (): void => answersLost.inc(),
    /** A client sent an event, which nobody listens to. */
    dropped: (): void => dropped.inc(),
    /** A client sent more than it may: its connection is closed. `peer`: the other end of its websocket, maybe a proxy. */
    sentTooMuch(limit: "max_client_messages" | "max_client_bytes", who: Who | undefined, peer?: string): void {
      limited.inc({ limit });
      log.info("a client sent too much", { limit, ...(who && about(who)), peer }, who?.address ?? peer);
    },
  };
}
