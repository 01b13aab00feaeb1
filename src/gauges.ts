import type { Realms } from "./authorize/realms.ts";
import type { Revocations } from "./authorize/revocations.ts";
import type { Clock } from "./clock/clock.ts";
import type { Backlog } from "./connections/backlog.ts";
import type { Connection } from "./connections/connection.ts";
import type { Members } from "./connections/members.ts";
import type { Registry } from "./connections/registry.ts";
import type { Sessions } from "./connections/sessions.ts";
import type { Held } from "./journal/held.ts";
import type { Journal } from "./journal/journal.ts";
import type { Window } from "./journal/window.ts";
import type { Unfinished } from "./limits/unfinished.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { Logout } from "./revocations/logout.ts";
import type { Revoker } from "./revocations/revoke.ts";
import type { Certificate } from "./tls/certificate.ts";

/** Channel names come from strangers where `channels` is not configured: more than this many share one label. */
const mostChannels = 100;

/** What the service tells of its state at the moment of a scrape. */
export function registerGauges(
  metrics: Metrics,
  state: {
    readonly registry: Registry<Connection>;
    readonly members: Members;
    readonly backlog: Pick<Backlog, "tidy" | "bytes">;
    readonly sessions: Sessions;
    readonly unfinished: Unfinished;
    readonly journal: Journal;
    readonly window: Window;
    readonly held: Held;
    readonly revocations: Revocations;
    readonly revoker: Revoker;
    readonly logout: Logout;
    readonly realms: Realms | undefined;
    readonly clock: Pick<Clock, "believed_ms">;
    readonly certificate: Pick<Certificate, "files" | "days">;
  },
): void {
  const {
    registry,
    members,
    backlog,
    sessions,
    unfinished,
    journal,
    window,
    held,
    revocations,
    revoker,
    logout,
    realms,
    clock,
    certificate,
  } = state;
  const reading = (name: string, help: string, read: () => number) =>
    metrics.gauge(name, help, [], (gauge) => gauge.set(read()));

  metrics.gauge("connections", "Socket.IO connections by transport.", ["transport"], (gauge) => {
    gauge.set({ transport: "polling" }, members.polling);
    gauge.set({ transport: "websocket" }, registry.size - members.polling);
  });
  metrics.gauge("channel_connections", "Socket.IO connections by channel.", ["channel"], (gauge) => {
    const channels = Array.from(registry.channels(), ([channel, { size }]) => ({ channel, size })).toSorted(
      (a, b) => b.size - a.size,
    );
    for (const { channel, size } of channels.slice(0, mostChannels)) gauge.set({ channel }, size);
    const others = channels.slice(mostChannels);
    if (others.length === 0) return;
    gauge.set(
      { channel: "(others)" },
      others.reduce((sum, { size }) => sum + size, 0),
    );
  });
  reading("users", "Users with at least one connection.", () => registry.users);
  reading("sessions", "Engine.IO sessions, those before their CONNECT included.", () => sessions.size);
  reading(
    "sessions_unauthenticated",
    "Engine.IO sessions without a valid CONNECT so far.",
    () => sessions.unauthenticated,
  );
  reading("backlog_bytes", "Bytes that connections have not been sent yet.", () => {
    backlog.tidy();
    return backlog.bytes;
  });
  reading("unfinished_bytes", "Bytes of request bodies that are being received.", () => unfinished.bytes);
  reading("window_entries", "Entries in the replay window.", () => window.entries);
  reading("window_bytes", "Bytes in the replay window.", () => window.bytes);
  reading(
    "window_age_seconds",
    "Age of the oldest entry in the replay window.",
    () => (journal.uptime_ms() - (window.oldest_ms ?? journal.uptime_ms())) / 1000,
  );
  reading("journal_bytes", "Size of the journal on the disk.", journal.size_bytes);
  reading("idempotency_keys", "Idempotency-Keys whose answers are kept.", () => journal.memos().count);
  reading("idempotency_bytes", "Size of the answers kept for Idempotency-Keys.", () => journal.memos().bytes);
  reading(
    "idempotency_age_seconds",
    "Age of the oldest Idempotency-Key whose answer is kept.",
    () => (clock.believed_ms() - (journal.memos().oldest_ms ?? clock.believed_ms())) / 1000,
  );
  reading("held", "Notifications that wait for a user, once for each user.", () => held.count);
  reading("held_bytes", "Bytes of notifications that wait for a user.", () => held.bytes);
  reading("revocations", "Revocations in force.", () => revocations.size);
  reading("revocations_unsaved", "Revocations that the journal has not taken yet.", () => revoker.unsaved);
  reading("logouts_waiting", "Logouts that wait for the keys of their realm.", () => logout.waiting);
  metrics.gauge("jwks_age_seconds", "Age of the keys of a realm that are in use.", ["realm"], (gauge) => {
    for (const { name, age_seconds } of realms?.ages() ?? []) {
      if (age_seconds !== undefined) gauge.set({ realm: name }, age_seconds);
    }
  });
  // Absent over plain HTTP, where 0 would be an alarm.
  if (certificate.files === undefined) return;
  reading(
    "tls_certificate_expiry_days",
    "Days until the certificate expires, or another one of its chain; negative: since then.",
    () => certificate.days ?? NaN,
  );
}
