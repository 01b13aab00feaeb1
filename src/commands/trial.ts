import { sha256 } from "../model/digest.ts";
import { makeKey } from "../settings/key-format.ts";
import { isLoopback } from "../settings/loopback.ts";
import type { Settings } from "../settings/schema.ts";
import { version } from "../version.ts";

/** What `serve --dev` makes, so that nothing has to be configured first. */
export interface Trial {
  readonly apiKey: string;
  readonly wsToken: string;
}

export function makeTrial(): Trial {
  return { apiKey: makeKey(), wsToken: makeKey() };
}

/** The settings, with the credentials of the trial. */
export function withTrial(settings: Settings, { apiKey, wsToken }: Trial): Settings {
  const common = { name: "trial", channels: "*" } as const;
  return {
    ...settings,
    api_keys: [...settings.api_keys, { ...common, sha256: sha256(apiKey, "hex"), admin: true }],
    ws_tokens: [...settings.ws_tokens, { ...common, sha256: sha256(wsToken, "hex"), require_bound_tokens: false }],
  };
}

/** What to try first, to be pasted as it is. `host` is what the service listens on. */
export function welcome(url: string, host: string, { apiKey, wsToken }: Trial): string {
  const notify = (body: object) =>
    `  curl -H 'Content-Type: application/json' -d '${JSON.stringify({ API_KEY: apiKey, msg: "hello", ...body })}' ${url}/notify\n`;
  const { origin, pathname } = new URL(url);
  // Socket.IO takes a path in its URL for a namespace.
  const path = pathname === "/" ? "" : ` path: "${pathname}/socket.io/",`;
  return `
AMPER Channels ${version}, trial mode: ${reach(host)}, and nothing is kept.

  URL        ${url}
  API key    ${apiKey}
  WS token   ${wsToken}

Get a websocket token for a page (the user is called alice here):
  curl -H 'Authorization: Bearer ${wsToken}' '${url}/authorize?keycloakID=alice'

Connect with it, in a page or in the console of one:
  import("${url}/socket.io/socket.io.esm.min.js").then(({ io }) =>
    io("${origin}", {${path} auth: { token: "…", keycloakID: "alice", channel: "msf" } }).on("notification", console.log))

Notify everyone on a channel, a user on every channel, a user on one channel:
${notify({ channel: "msf" })}${notify({ keycloak: "alice" })}${notify({ keycloak: "alice", channel: "msf" })}
`;
}

function reach(host: string): string {
  if (isLoopback(host)) return "reachable from this machine only";
  return `reachable from other machines, too (host ${host}; for this one only, leave out --host)`;
}
