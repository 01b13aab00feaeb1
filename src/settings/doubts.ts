import type { Channels } from "../model/names.ts";
import { knownChannels } from "./realms.ts";
import type { Settings } from "./schema.ts";
import { didYouMean } from "./text.ts";

/** What is doubtful about settings that are good one by one. */
export function doubtsAbout(settings: Settings): string[] {
  const known = knownChannels(settings);
  const ofTables = [
    ...settings.api_keys.map((key) => ({ ...key, table: "api_keys" })),
    ...settings.ws_tokens.map((token) => ({ ...token, table: "ws_tokens" })),
  ];
  return ofTables.flatMap(({ table, name, channels }) =>
    unknownOf(channels).map(
      (channel) =>
        `${table}.${name}.channels names ${channel}, which is no channel${didYouMean(channel, [...(known ?? [])])}`,
    ),
  );

  function unknownOf(channels: Channels): readonly string[] {
    return channels === "*" || known === undefined ? [] : channels.filter((channel) => !known.has(channel));
  }
}
