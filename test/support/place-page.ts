import { page, type Options, type Page } from "./client.ts";

/** What the pages of a tab keep: like `sessionStorage`, it outlives a reload. */
export type Places = Map<string, string>;

export interface Identity {
  token: string;
  keycloakID: string;
  channel: string;
}

/** A page that hands in its place, as the README has it. */
export interface PlacePage extends Page {
  /** What `resumed` has told, in order. */
  readonly resumed: unknown[];
  /** The names of all events, in order. */
  readonly events: string[];
}

export const placeOf = ({ keycloakID, channel }: Identity): string => `${keycloakID} ${channel}`;

/**
 * @param identity read at each connect: a tab may switch to another user.
 * @param knowsPid false: like the libraries that know no `pid`.
 */
export function placePage(
  url: string,
  identity: Identity,
  places: Places,
  { knowsPid = true, ...options }: Options & { knowsPid?: boolean } = {},
): PlacePage {
  const opened = page(url, (send) => send({ ...identity, cursor: places.get(placeOf(identity)) ?? null }), options);
  const { socket } = opened;
  if (!knowsPid) Object.defineProperty(socket, "_pid", { get: () => undefined, set() {} });
  const resumed: unknown[] = [];
  const events: string[] = [];
  let isReplaying = false;
  const keep = (cursor: unknown): void => void places.set(placeOf(identity), String(cursor));
  socket.onAny((event: string) => events.push(event));
  socket.on("resumed", ({ recovered }: { recovered: unknown }) => {
    isReplaying = true;
    resumed.push(recovered);
  });
  socket.on("notification", (_msg: unknown, cursor: unknown) => {
    if (!isReplaying) keep(cursor);
  });
  socket.on("cursor", (head: unknown) => {
    isReplaying = false;
    keep(head);
  });
  return { ...opened, resumed, events };
}
