import * as v from "valibot";
import type { Gone, Window } from "../journal/window.ts";
import { Cursor } from "../model/cursor.ts";
import type { NotificationEntry } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { Settings } from "../settings/schema.ts";

/** Why a client that came back is not recovered: it was never here, or as somebody else, or (see the window) its place is gone. */
export type NotRecovered = "first" | "foreign" | Gone;

/** Where a client that connects continues. */
export interface Resumption {
  /** For Socket.IO's CONNECT: the one that the client sent tells it that it is recovered. */
  readonly pid: string;
  readonly recovered: boolean;
  readonly cause: NotRecovered | undefined;
  /** What it missed, in order; nothing unless it is recovered. */
  readonly missed: readonly NotificationEntry[];
  /** It has everything that this identity was sent up to here; undefined: who knows. */
  readonly confirmed: number | undefined;
  /** It needs nothing of what came up to here: replayed is only what is newer. */
  readonly since: number;
  /** The head of the journal, where the place of the client would stay behind it: it was not there when others were told. */
  readonly head: Cursor | undefined;
}

export type Recovery = (auth: unknown, user: KeycloakId, channel: Channel) => Resumption;

/** What a stock client sends beside our own fields once it has had a `pid`, by itself, at each connect. */
const Resume = v.fallback(v.object({ pid: v.optional(v.string()), offset: v.optional(v.string()) }), {});

/** Head at the first connect, a random id, a digest of the identity, and of the offset that the client had before. */
const Pid = /^([a-z0-9]{1,32}-\d{1,15})\.([\w-]{12})\.([a-z0-9]{1,13})\.([a-z0-9]{1,13})$/;

/** The `pid` that a client sends back by itself; empty: none. */
export function pidOf(auth: unknown): string {
  return v.parse(Resume, auth).pid ?? "";
}

/**
 * Recovery for stock Socket.IO clients, from the `pid` and `offset` that they send. Neither proves anything:
 * they only say where to start, for an identity that the token has proven. Any doubt is "not recovered", never a hole.
 */
export function createRecovery({ backlog_bytes }: Pick<Settings, "backlog_bytes">, window: Window): Recovery {
  // What is held goes out in the same burst, and both have to fit into the backlog together.
  const limit_bytes = backlog_bytes / 2;

  function locate(text: string): number | undefined {
    const cursor = v.safeParse(Cursor, text);
    return cursor.success ? window.locate(cursor.output) : undefined;
  }

  return function resume(auth, user, channel) {
    const { pid = "", offset } = v.parse(Resume, auth);
    const identity = digest(`${user} ${channel}`);
    const [, start, , of, before] = Pid.exec(pid) ?? [];
    const fresh = (cause: NotRecovered, confirmed?: number): Resumption => ({
      pid: [window.head(), randomId(), identity, digest(offset ?? "")].join("."),
      recovered: false,
      cause,
      missed: [],
      confirmed,
      since: window.last,
      // It is in the pid.
      head: undefined,
    });
    if (start === undefined) return fresh("first");
    if (of !== identity) return fresh("foreign");
    // A client keeps its last offset beside a new pid: the one that it had before it got the pid says nothing.
    const isStale = offset === undefined || digest(offset) === before;
    const first = locate(start);
    const last = isStale ? undefined : locate(offset);
    // It received something after its first connect whose place we cannot tell: a copy of the journal was restored.
    if (!isStale && last === undefined) return fresh("unknown");
    // The offset may lie before the first connect: what was held for the user is older than that.
    const since = Math.max(first ?? -1, last ?? -1);
    if (since < 0) return fresh("unknown");
    const missed = window.since(since, user, channel, limit_bytes);
    if (typeof missed === "string") return fresh(missed, last);
    const place = missed.at(-1)?.sequence ?? since;
    const head = place < window.last ? window.head() : undefined;
    return { pid, recovered: true, cause: undefined, missed, confirmed: last, since, head };
  };
}

/** Not cryptographic: a client that makes up a pid fools only itself. */
function digest(text: string): string {
  return Bun.hash(text).toString(36);
}

function randomId(): string {
  return crypto.getRandomValues(Buffer.alloc(9)).toString("base64url");
}
