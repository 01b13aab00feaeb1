// oxlint-disable no-underscore-dangle -- the name that bun-engine has given it

import type { EngineSocket } from "./connection.ts";

/**
 * A websocket that was to take over a session ends with it. bun-engine leaves it open for its upgrade timeout, where no limit
 * counts it: with handshakes that are closed again at once, one after the other, a stranger would have thousands.
 */
export function endUpgradeWithSession(conn: EngineSocket): void {
  if (conn.transport.name !== "polling") return;
  let upgrading: EngineSocket["transport"] | undefined;
  const maybeUpgrade = conn._maybeUpgrade.bind(conn);
  conn._maybeUpgrade = (transport) => {
    // There is one in the life of a session: the engine closes any other by itself.
    upgrading ??= transport;
    maybeUpgrade(transport);
  };
  conn.on("close", () => upgrading?.close());
}
