// oxlint-disable no-underscore-dangle -- the name that bun-engine has given it

import type { EngineSocket } from "./connection.ts";

type Transport = EngineSocket["transport"];

/**
 * A websocket that was to take over a session ends with it. bun-engine leaves it open for its upgrade timeout, where no limit
 * counts it: with handshakes that are closed again at once, one after the other, a stranger would have thousands.
 *
 * @param cut ends its websocket without a close frame, for whose answer Bun waits up to 20 s, and all that time keeps what
 * has come of a message that never ends.
 */
export function endUpgradeWithSession(conn: EngineSocket, cut: (transport: Transport) => void): void {
  if (conn.transport.name !== "polling") return;
  let upgrading: Transport | undefined;
  const maybeUpgrade = conn._maybeUpgrade.bind(conn);
  conn._maybeUpgrade = (transport) => {
    // There is one in the life of a session: the engine closes any other by itself.
    upgrading ??= transport;
    maybeUpgrade(transport);
  };
  conn.on("close", () => {
    if (upgrading !== undefined && upgrading !== conn.transport) cut(upgrading);
  });
}
