import type { Client } from "../limits/address.ts";
import type { SocketData } from "../connections/gateway.ts";
import type { Ending } from "./ending.ts";

/** The one `Bun.serve`. */
export type Listener = Bun.Server<SocketData>;

/** A request under way. */
export interface Exchange {
  readonly req: Request;
  readonly url: URL;
  readonly server: Listener;
  readonly client: () => Client;
  readonly ending: Ending;
  /** Goes back as X-Request-Id, and into the log lines of the request. */
  readonly id: string;
}
