import type { Settings } from "./schema.ts";

/** One address, which may be a single client, must not be able to use up what all draw on. */
const shares = [
  ["max_connections_per_address", "max_connections"],
  ["max_polling_per_address", "max_polling"],
  ["max_unauthenticated_per_address", "max_unauthenticated"],
] as const;

/** What is sent around each notification of a burst, roughly. */
const frame_bytes = 64;

/** Warnings about settings that are allowed, each for itself, and work against each other. */
export function contradictions(settings: Settings): string[] {
  const {
    max_body_bytes,
    max_unfinished_bytes,
    backlog_bytes,
    backlog_total_bytes,
    journal_window_bytes,
    max_held_bytes,
    max_held_per_user,
    max_held,
  } = settings;
  const rules: readonly (readonly [isMet: boolean, warning: string])[] = [
    [
      max_body_bytes > backlog_bytes / 2,
      `max_body_bytes (${max_body_bytes}) is more than half of backlog_bytes (${backlog_bytes}): a notification of that size cannot be replayed, and one beyond backlog_bytes closes every connection that gets it`,
    ],
    [
      max_body_bytes > backlog_bytes / 4 && max_body_bytes <= backlog_bytes / 2,
      `max_body_bytes (${max_body_bytes}) is more than a quarter of backlog_bytes (${backlog_bytes}): a notification of that size with a ttl is refused`,
    ],
    [
      max_body_bytes > max_held_bytes,
      `max_body_bytes (${max_body_bytes}) is more than max_held_bytes (${max_held_bytes}): a notification of that size with a ttl is refused`,
    ],
    [
      max_body_bytes > journal_window_bytes / 5,
      `max_body_bytes (${max_body_bytes}) is more than a fifth of journal_window_bytes (${journal_window_bytes}): a few notifications of that size leave nothing else to be replayed`,
    ],
    [
      max_body_bytes > max_unfinished_bytes / 4,
      `max_body_bytes (${max_body_bytes}) is more than a quarter of max_unfinished_bytes (${max_unfinished_bytes}): a few bodies that are slow to come end one another`,
    ],
    [
      max_held_per_user * frame_bytes > backlog_bytes / 4,
      `max_held_per_user (${max_held_per_user}) is more than backlog_bytes (${backlog_bytes}) takes at once: a connection of such a user is closed before it has got them`,
    ],
    [
      max_held_per_user > max_held,
      `max_held_per_user (${max_held_per_user}) is more than max_held (${max_held}), which is for all users together`,
    ],
    [
      backlog_bytes > backlog_total_bytes / 4,
      `backlog_bytes (${backlog_bytes}) is more than a quarter of backlog_total_bytes (${backlog_total_bytes}): a few connections that do not read close others`,
    ],
    ...shares.map(
      ([share, total]) =>
        [
          settings[share] > settings[total] / 4,
          `${share} (${settings[share]}) is more than a quarter of ${total} (${settings[total]}): a few addresses can use it up, and nobody else gets in`,
        ] as const,
    ),
  ];
  return rules.filter(([isMet]) => isMet).map(([, warning]) => warning);
}
