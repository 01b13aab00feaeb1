import { createHmac } from "node:crypto";
import type { Channels } from "../model/names.ts";

/** What websocket tokens are granted through: a WS token (`ws_token DIGEST`), or a realm (`realm ISSUER`). */
export type Grantor = `ws_token ${string}` | `realm ${string}`;

export interface Grantors {
  /** Its opaque id, which the websocket tokens carry that are granted through it. */
  idOf(grantor: Grantor): string;
  /** What may be granted through it now; undefined: it is not configured any more. */
  channelsOf(id: string): Channels | undefined;
}

/**
 * The grantors that are configured, by id: whoever takes one out of the settings, or a channel from it, ends what was granted
 * through it. Ids are made with the secret of the websocket tokens, because pages see them: from a plain digest of a weak WS
 * token they could find the token out.
 *
 * @param secrets as for websocket tokens: those that a former first one signed carry ids that were made with it.
 */
export function createGrantors(
  grantors: ReadonlyMap<Grantor, Channels>,
  secrets: readonly [string, ...string[]],
): Grantors {
  const byId = new Map(
    secrets.flatMap((secret) => Array.from(grantors, ([grantor, channels]) => [idWith(secret, grantor), channels])),
  );
  return {
    idOf: (grantor) => idWith(secrets[0], grantor),
    channelsOf: (id) => byId.get(id),
  };
}

function idWith(secret: string, grantor: Grantor): string {
  return createHmac("sha256", secret).update(grantor).digest("base64url").slice(0, 16);
}
