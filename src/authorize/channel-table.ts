import * as v from "valibot";
import { sha256 } from "../model/digest.ts";
import type { Channel } from "../model/names.ts";

/**
 * The channels that something may be granted for, in an order that follows from their names. A token for many of them names the
 * table and the places in it, and not each channel: it has to fit into a header, and into the CONNECT of a page.
 */
export interface ChannelTable {
  /** Follows from all channels and all that they ask: where one differs, this does. */
  readonly id: string;
  readonly places: ReadonlyMap<Channel, { readonly index: number; readonly rule: string | null }>;
}

/** Some channels of a table. */
export const Selection = v.object({
  /** The table's id. */
  of: v.string(),
  /** One bit for each place, the first one the lowest of the first byte, in base64url; undefined: all places. */
  bits: v.exactOptional(v.string()),
});
export type Selection = v.InferOutput<typeof Selection>;

/** @param rules what the channels ask of a user, as digests; of those that are not named nothing. */
export function tableOf(channels: readonly Channel[], rules: ReadonlyMap<Channel, string>): ChannelTable {
  const rows = channels.toSorted().map((channel) => [channel, rules.get(channel) ?? null] as const);
  const places = new Map(rows.map(([channel, rule], index) => [channel, { index, rule }]));
  return { id: sha256(JSON.stringify(rows), "base64url").slice(0, 22), places };
}

export function select(table: ChannelTable, channels: readonly Channel[]): Selection {
  if (channels.length === table.places.size) return { of: table.id };
  const bits = Buffer.alloc(Math.ceil(table.places.size / 8));
  for (const channel of channels) {
    const index = table.places.get(channel)?.index;
    if (index === undefined) throw new Error("a granted channel is one of its table");
    bits.writeUInt8(bits.readUInt8(index >> 3) | (1 << (index & 7)), index >> 3);
  }
  return { of: table.id, bits: bits.toString("base64url") };
}

/** What the channel asked when it was granted (null: nothing); undefined: it was not granted. */
export function ruleOf(table: ChannelTable, { bits }: Selection, channel: Channel): string | null | undefined {
  const place = table.places.get(channel);
  if (place === undefined || bits === undefined) return place?.rule;
  const byte = Buffer.from(bits, "base64url").at(place.index >> 3) ?? 0;
  return (byte & (1 << (place.index & 7))) === 0 ? undefined : place.rule;
}
