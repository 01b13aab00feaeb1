import * as v from "valibot";
import type { Access } from "../authorize/access.ts";
import { requireApiKey } from "../authorize/secrets.ts";
import type { Connection } from "../connections/connection.ts";
import { presence, totals } from "../connections/directory.ts";
import type { Registry } from "../connections/registry.ts";
import { KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import type { Revoker } from "../revocations/revoke.ts";
import type { ApiKey } from "../settings/credentials.ts";
import { headerKey } from "./credentials.ts";
import { json } from "./respond.ts";
import type { Exchange } from "./exchange.ts";
import type { RouteTable } from "./router.ts";

export interface ConnectionNeeds {
  readonly access: Access;
  readonly registry: Registry<Connection>;
  readonly revoker: Revoker;
}

/** Who is connected, within the channels of the asking key; and how an operator ends a user. */
export function connectionRoutes({ access, registry, revoker }: ConnectionNeeds): RouteTable {
  const keyOf = ({ req, trail }: Exchange): ApiKey => requireApiKey(access.apiKeys, headerKey(req.headers), trail);

  return {
    "/connections": { guarded: true, GET: (exchange) => json(200, totals(registry, keyOf(exchange).channels)) },
    "/connections/:keycloakID": {
      guarded: true,
      GET(exchange) {
        const { channels } = keyOf(exchange);
        return json(200, presence(registry, userOf(exchange.param), channels));
      },
      async DELETE(exchange) {
        requireAdmin(keyOf(exchange));
        return json(200, await revoker.disconnect(userOf(exchange.param), exchange.trail));
      },
    },
  };
}

function requireAdmin({ admin, channels }: ApiKey): void {
  if (!admin) throw new Problem("admin_required");
  if (channels === "*") return;
  throw new Problem("channel_forbidden", { detail: "This key is limited to channels, and it would end all of them." });
}

function userOf(param: string): KeycloakId {
  const result = v.safeParse(KeycloakId, param);
  if (result.success) return result.output;
  throw new Problem("invalid_request", { errors: [{ path: "keycloakID", message: result.issues[0].message }] });
}
