import type { Client } from "../limits/address.ts";
import type { SocketData } from "../connections/gateway.ts";
import type { Trail } from "../observe/trail.ts";
import type { Ending } from "./ending.ts";

/** The one `Bun.serve`. */
export type Listener = Bun.Server<SocketData>;

/** A request under way. */
export interface Exchange {
  readonly req: Request;
  readonly url: URL;
  /** What stands in the path for the `:name` of its route, decoded, with U+FFFD for what is no UTF-8; empty if it has none. */
  readonly param: string;
  readonly server: Listener;
  readonly client: () => Client;
  readonly ending: Ending;
  /** Its `requestId` goes back as X-Request-Id. */
  readonly trail: Trail;
}
