import { allows, type Channel, type Channels, type KeycloakId } from "../model/names.ts";
import type { Connection } from "./connection.ts";
import type { Registry } from "./registry.ts";

/** The answer of `GET /connections`. */
export interface Totals {
  readonly connections: number;
  readonly channels: Readonly<Record<string, number>>;
}

/** The answer of `GET /connections/{keycloakID}`. */
export interface Presence {
  readonly keycloakID: KeycloakId;
  readonly online: boolean;
  readonly connections: number;
  readonly channels: Readonly<Record<string, number>>;
}

const mostChannels = 1000;

/** Connections by channel, the largest first; at most `mostChannels` are named, all are counted. */
export function totals(registry: Registry<Connection>, within: Channels): Totals {
  const counts = [...registry.channels()]
    .filter(([channel]) => allows(within, channel))
    .map(([channel, members]): [Channel, number] => [channel, members.size])
    .toSorted(([, a], [, b]) => b - a);
  return { connections: sum(counts), channels: Object.fromEntries(counts.slice(0, mostChannels)) };
}

/** Where a user is connected, on the channels that the asking key may see. */
export function presence(registry: Registry<Connection>, user: KeycloakId, within: Channels): Presence {
  const counts = new Map<Channel, number>();
  for (const { channel } of registry.ofUser(user)) {
    if (allows(within, channel)) counts.set(channel, (counts.get(channel) ?? 0) + 1);
  }
  const connections = sum([...counts]);
  return { keycloakID: user, online: connections > 0, connections, channels: Object.fromEntries(counts) };
}

function sum(counts: readonly [Channel, number][]): number {
  return counts.reduce((total, [, count]) => total + count, 0);
}
