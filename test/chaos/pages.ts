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
type AskAuth = () => { [name: string]: unknown };

const auths: ((ask: AskAuth, random: Random) => Auth)[] = [
  (ask) => ask(),
  (ask) => (send) => send(ask()),
  // The connection may have ended, and another have begun, when it answers.
  (ask, random) => (send) => void setTimeout(send, random() * 30, ask()),
];

/** How pages are recovered: by what their library sends, or by the place that they hand in, beside it, or because it sends nothing. */
const recoveries = ["pid", "place and pid", "place"] as const;

export interface Identity {
  readonly user: string;
  readonly channel: string;
  readonly token: string;
}

/** A page with a stock client, behind a network of its own. Nobody reconnects it by hand. */
export interface Page extends History {
  readonly socket: Socket;
  readonly network: Network;
  /** It has been connected, and knows its place. */
  hasOpened(): boolean;
  /** The sequence of the newest notification. */
  newest(): number;
  /** Where its line of connections begins. */
  place(): number;
  leave(): void;
}

/** What outlives a page that is reloaded: its place, and in these tests its history. */
export interface Tab {
  cursor: string | null;
  readonly events: Event[];
  readonly buffered: Set<number>;
}

export function newTab(): Tab {
  return { cursor: null, events: [], buffered: new Set() };
}

const open = new Set<Socket>();

afterEach(() => {
  for (const socket of open) socket.disconnect();
  open.clear();
});

/**
 * @param kind each number is another combination of transports, `auth` and recovery.
 * @param tab of a page that was here before; then this one hands in its place.
 */
export function openPage(
  { user, channel, token }: Identity,
  network: Network,
  kind: number,
  random: Random,
  tab?: Tab,
): Page {
  const recovery = tab === undefined ? (recoveries[Math.floor(kind / 3) % 3] ?? "pid") : "place and pid";
  const { events, buffered, ...kept } = tab ?? newTab();
  const handsIn = recovery !== "pid";
  let handed = Infinity;
  let pid: unknown;
  const ask: AskAuth = () => {
    const cursor = handsIn ? (tab ?? kept).cursor : undefined;
    // What the library knows to have does not come again.
    handed = recovery === "place" || pid === undefined ? sequenceOf(cursor) : Infinity;
    return { token, keycloakID: user, channel, ...(handsIn && { cursor }) };
  };
  // A place that moves cannot be static.
  const auth = auths[handsIn ? 1 + (kind % 2) : kind % 3]?.(ask, random) ?? {};
  const socket = io(network.url, {
    auth,
    forceNew: true,
    reconnectionDelay: 20,
    reconnectionDelayMax: 50,
    ...transports[kind % transports.length],
  });
  open.add(socket);
  Object.defineProperty(socket, "_pid", {
    get: () => (recovery === "place" ? undefined : pid),
    set(given: unknown) {
      pid = given;
    },
  });
  let [place, newest, hasOpened, hasLeft, isReplaying] = [Infinity, 0, false, false, false];
  function connected(recovered: boolean): void {
    // The `pid` begins with the cursor from which on the line of connections gets everything.
    if (!recovered) place = sequenceOf(String(pid).split(".")[0]);
    events.push({ kind: "connected", recovered, place, again: handsIn ? handed : Infinity });
  }
  socket.on("connect", () => {
    if (handsIn) return;
    connected(socket.recovered);
    hasOpened = true;
  });
  socket.on("resumed", ({ recovered }: { recovered: boolean }) => {
    isReplaying = true;
    connected(recovered);
  });
  const keep = (cursor: unknown): void => void ((tab ?? kept).cursor = String(cursor));
  socket.on("cursor", (head: unknown) => {
    if (!handsIn) return;
    [isReplaying, hasOpened] = [false, true];
    keep(head);
  });
  socket.on("notification", (msg: unknown, cursor: unknown) => {
    const sequence = sequenceOf(cursor);
    newest = Math.max(newest, sequence);
    events.push({ kind: "got", msg, sequence });
    if (!isReplaying) keep(cursor);
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
    hasOpened: () => hasOpened,
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
