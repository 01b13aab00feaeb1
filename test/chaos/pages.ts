import { afterEach } from "bun:test";
import { Fetch, io, WebSocket, type ManagerOptions, type Socket } from "socket.io-client";
import { pick, type Random } from "../support/random.ts";
import { sequenceOf, type Event, type History } from "./model.ts";
import type { Network } from "./network.ts";

/** With `Fetch`, Bun does as browsers do: it repeats a poll byte by byte if the answer is lost. */
const transports: readonly Pick<Partial<ManagerOptions>, "transports">[] = [
  {},
  { transports: ["websocket"] },
  { transports: ["polling"] },
  { transports: [Fetch, WebSocket] },
  { transports: [Fetch] },
];

type Auth = { [name: string]: unknown } | ((send: (auth: object) => void) => void);

const auths: ((identity: { [name: string]: unknown }, random: Random) => Auth)[] = [
  (identity) => identity,
  (identity) => (send) => send(identity),
  // The connection may have ended, and another have begun, when it answers.
  (identity, random) => (send) => void setTimeout(send, random() * 30, identity),
];

export interface Identity {
  readonly user: string;
  readonly channel: string;
  readonly token: string;
}

/** A page with a stock client, behind a network of its own. Nobody reconnects it by hand. */
export interface Page extends History {
  readonly socket: Socket;
  readonly network: Network;
  /** The sequence of the newest notification. */
  newest(): number;
  /** Where its line of connections begins. */
  place(): number;
  leave(): void;
}

const open = new Set<Socket>();

afterEach(() => {
  for (const socket of open) socket.disconnect();
  open.clear();
});

/** @param kind each number is another combination of transports and `auth`. */
export function openPage({ user, channel, token }: Identity, network: Network, kind: number, random: Random): Page {
  const auth = auths[kind % auths.length]?.({ token, keycloakID: user, channel }, random) ?? {};
  const socket = io(network.url, {
    auth,
    forceNew: true,
    reconnectionDelay: 20,
    reconnectionDelayMax: 50,
    ...transports[kind % transports.length],
  });
  open.add(socket);
  const events: Event[] = [];
  const buffered = new Set<number>();
  let [place, newest, hasLeft] = [Infinity, 0, false];
  socket.on("connect", () => {
    if (!socket.recovered) place = placeOf(socket);
    events.push({ kind: "connected", recovered: socket.recovered, place });
  });
  socket.on("notification", (msg: unknown, cursor: unknown) => {
    const sequence = sequenceOf(cursor);
    newest = Math.max(newest, sequence);
    events.push({ kind: "got", msg, sequence });
  });
  socket.io.on("reconnect_attempt", () => {
    for (const [name, , cursor] of socket.receiveBuffer) if (name === "notification") buffered.add(sequenceOf(cursor));
  });
  return {
    user,
    channel,
    events,
    buffered,
    socket,
    network,
    newest: () => newest,
    place: () => place,
    leave() {
      hasLeft = true;
      socket.disconnect();
      open.delete(socket);
    },
    get hasLeft() {
      return hasLeft;
    },
  };
}

/** A user who comes and goes, each time with a new page: what is held is for them. Resolves with all their pages. */
export async function wander(come: (visit: number) => Page, random: Random, stopping: AbortSignal): Promise<Page[]> {
  const pages: Page[] = [];
  for (;;) {
    const page = come(pages.length);
    pages.push(page);
    await Bun.sleep(pick(random, [50, 300, 1500]) * random());
    if (stopping.aborted) return pages;
    page.leave();
    await Bun.sleep(pick(random, [50, 1000]) * random());
  }
}

/** The `pid` begins with the cursor from which on the line of connections gets everything. */
function placeOf(socket: Socket): number {
  const { _pid: pid }: { _pid?: unknown } = Object(socket);
  return sequenceOf(String(pid).split(".")[0]);
}
