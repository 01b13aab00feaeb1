// The floor: Bun's own websockets and topics, and just enough of the protocol that the same load can drive it. Compiled,
// it is also the empty program against which our start is measured.
interface Page {
  user: string;
}

/** As long as one of our cursors, so that the frames are of the same size. */
const CURSOR = "k3v9q0zt-000001";
const OPEN =
  '0{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}';

interface Notification {
  readonly msg: unknown;
  readonly channel: string;
  readonly keycloak?: string;
}

/** By user, one each. */
const pages = new Map<string, Bun.ServerWebSocket<Page>>();

const server = Bun.serve<Page>({
  hostname: "127.0.0.1",
  port: Number(process.env["PORT"]),
  async fetch(request, self) {
    if (request.headers.has("upgrade")) {
      if (self.upgrade(request, { data: { user: "" } })) return undefined;
      return new Response(null, { status: 400 });
    }
    const { msg, channel, keycloak }: Notification = JSON.parse(await request.text());
    const frame = `42["notification",${JSON.stringify(msg)},"${CURSOR}"]`;
    if (keycloak === undefined) {
      self.publish(channel, frame);
      return Response.json({ id: CURSOR, connections: self.subscriberCount(channel) });
    }
    const page = pages.get(keycloak);
    page?.send(frame);
    return Response.json({ id: CURSOR, connections: page === undefined ? 0 : 1 });
  },
  websocket: {
    idleTimeout: 120,
    sendPings: false,
    open: (ws) => void ws.send(OPEN),
    close: (ws) => void pages.delete(ws.data.user),
    message(ws, message) {
      if (typeof message !== "string" || !message.startsWith("40")) return;
      const { keycloakID, channel } = JSON.parse(message.slice(2));
      ws.subscribe(channel);
      ws.data.user = keycloakID;
      pages.set(keycloakID, ws);
      ws.send('40{"sid":"AAAAAAAAAAAAAAAAAAAA"}');
    },
  },
});

process.once("SIGTERM", () => void server.stop(true));
