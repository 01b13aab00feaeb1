import type { Channel, Channels } from "../model/names.ts";
import type { ChannelRule } from "./rules.ts";
import { safe } from "./text.ts";

/** Names and rights, never a digest: a digest of a weak key is as good as the key. */
export function credentials(
  list: readonly {
    readonly name: string;
    readonly channels: Channels;
    readonly admin?: boolean;
    readonly require_bound_tokens?: boolean;
    readonly expires_at?: Date;
    readonly rate_per_second?: number;
    readonly burst?: number;
  }[],
): string {
  const shown = list.map((entry) => {
    const rights = [
      `channels ${entry.channels === "*" ? "*" : entry.channels.join(" ")}`,
      ...(entry.admin === true ? ["admin"] : []),
      ...(entry.require_bound_tokens === true ? ["bound tokens only"] : []),
      ...(entry.rate_per_second === undefined ? [] : [`${entry.rate_per_second} per second, ${entry.burst} at once`]),
      ...(entry.expires_at === undefined ? [] : [`until ${entry.expires_at.toISOString()}`]),
    ];
    return `${entry.name} (${rights.join(", ")})`;
  });
  return shown.join(", ");
}

export function channelRules(rules: ReadonlyMap<Channel, ChannelRule>): string {
  const shown = Array.from(rules, ([name, { roles, clients }]) => {
    const needs = [
      ...(roles.length > 0 ? [`roles ${roles.join(" ")}`] : []),
      ...(clients.length > 0 ? [`clients ${clients.join(" ")}`] : []),
    ];
    return `${name} (${needs.length === 0 ? "open to every user" : needs.join(", ")})`;
  });
  return safe(shown.join(", "), 1000);
}

export function realms(
  all: ReadonlyMap<string, { readonly issuer: string; readonly channels: ReadonlyMap<Channel, ChannelRule> }>,
): string {
  const shown = Array.from(all, ([name, { issuer, channels }]) => `${name} (${issuer}; ${channelRules(channels)})`);
  return safe(shown.join(", "), 1000);
}
