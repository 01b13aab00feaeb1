import * as v from "valibot";
import type { Gone, Window } from "../journal/window.ts";
import { Cursor } from "../model/cursor.ts";
import type { NotificationEntry } from "../model/entry.ts";
import type { Channel, KeycloakId } from "../model/names.ts";
import type { Settings } from "../settings/schema.ts";

interface Place {
  readonly cursor: Cursor;
  readonly sequence: number;
}

/** Why a client that came back is not recovered: it was never here, or as somebody else, or (see the window) its place is gone. */
export type NotRecovered = "first" | "foreign" | Gone;

/** Where a client that connects continues. */
export interface Resumption {
  /** For Socket.IO's CONNECT: the one that the client sent tells it that it is recovered. */
  readonly pid: string;
  readonly recovered: boolean;
  /** The client hands in its place itself: the event `resumed` tells it whether it is recovered. */
  readonly isHandedIn: boolean;
  readonly cause: NotRecovered | undefined;
  /** What it missed, in order; nothing unless it is recovered. */
  readonly missed: readonly NotificationEntry[];
  /** It has everything that this identity was sent up to here; undefined: who knows. */
  readonly confirmed: number | undefined;
  /** It needs nothing of what came up to here: replayed is only what is newer. */
  readonly since: number;
  /**
   * The head of the journal, where the place of the client would stay behind it: it was not there when others were told. A
   * client that hands in its place is always told: what is held may have an older cursor than its place.
   */
  readonly head: Cursor | undefined;
}

export type Recovery = (auth: unknown, user: KeycloakId, channel: Channel) => Resumption;

/** What a stock client sends beside our own fields once it has had a `pid`, by itself, at each connect. */
const Resume = v.fallback(v.object({ pid: v.optional(v.string()), offset: v.optional(v.string()) }), {});

/** What a client of any library adds to our own fields, if it is to be recovered: the last cursor that it got, or null. */
const HandedIn = v.fallback(v.object({ cursor: v.optional(v.unknown()) }), {});

/**
 * The place from which on the client gets everything, a random id, a digest of the identity, and of the offset that the client
 * had before.
 */
const Pid = /^([a-z0-9]{1,32}-\d{1,15})\.([\w-]{12})\.([a-z0-9]{1,13})\.([a-z0-9]{1,13})$/;

/** The `pid` that a client sends back by itself; empty: none. */
export function pidOf(auth: unknown): string {
  return v.parse(Resume, auth).pid ?? "";
}

/**
 * Recovery from what stock Socket.IO clients send by themselves, `pid` and `offset`, and from what any other client hands in,
 * `auth.cursor`. None of it proves anything: it only says where to start, for an identity that the token has proven. Any doubt
 * is "not recovered", never a hole.
 */
export function createRecovery({ backlog_bytes }: Pick<Settings, "backlog_bytes">, window: Window): Recovery {
  // What is held goes out in the same burst, and both have to fit into the backlog together.
  const limit_bytes = backlog_bytes / 2;

  function locate(text: unknown): Place | undefined {
    const cursor = v.safeParse(Cursor, text);
    const sequence = cursor.success ? window.locate(cursor.output) : undefined;
    return cursor.success && sequence !== undefined ? { cursor: cursor.output, sequence } : undefined;
  }

  return function resume(auth, user, channel) {
    const { pid = "", offset } = v.parse(Resume, auth);
    const { cursor } = v.parse(HandedIn, auth);
    const isHandedIn = cursor !== undefined;
    const identity = digest(`${user} ${channel}`);
    const [, start, , of, before] = Pid.exec(pid) ?? [];
    // A client keeps its last offset beside a new pid: the one that it had before it got the pid says nothing.
    const isStale = of !== identity || offset === undefined || digest(offset) === before;
    const last = isStale ? undefined : locate(offset);
    function pidFrom(place: Cursor): string {
      // The event `cursor` may bring a client that hands in its place the same offset again: then it goes on to count.
      const stale = isHandedIn && last !== undefined ? "" : offset;
      return [place, randomId(), identity, digest(stale ?? "")].join(".");
    }
    const fresh = (cause: NotRecovered): Resumption => ({
      pid: pidFrom(window.head()),
      recovered: false,
      isHandedIn,
      cause,
      missed: [],
      confirmed: last?.sequence,
      since: window.last,
      // Otherwise it is in the pid.
      head: isHandedIn ? window.head() : undefined,
    });
    if (!isHandedIn && start === undefined) return fresh("first");
    if (!isHandedIn && of !== identity) return fresh("foreign");
    // It received something on this line of connections whose place we cannot tell: a copy of the journal was restored.
    if (!isStale && last === undefined) return fresh("unknown");
    // Not the start of the pid where the client hands in its place: maybe it was never told that it has not been recovered.
    const first = locate(isHandedIn ? cursor : start);
    if (isHandedIn && cursor !== null && first === undefined) return fresh("unknown");
    // The offset may lie before the first connect: what was held for the user is older than that.
    const place = later(first, last);
    if (place === undefined) return fresh(isHandedIn ? "first" : "unknown");
    const missed = window.since(place.sequence, user, channel, limit_bytes);
    if (typeof missed === "string") return fresh(missed);
    const reached = missed.at(-1)?.sequence ?? place.sequence;
    return {
      // A new one where the event tells the client: `socket.recovered` stays false.
      pid: isHandedIn ? pidFrom(place.cursor) : pid,
      recovered: true,
      isHandedIn,
      cause: undefined,
      missed,
      confirmed: last?.sequence,
      since: place.sequence,
      head: isHandedIn || reached < window.last ? window.head() : undefined,
    };
  };
}

function later(one: Place | undefined, other: Place | undefined): Place | undefined {
  return (other?.sequence ?? -1) > (one?.sequence ?? -1) ? other : one;
}

/** Not cryptographic: a client that makes up a pid fools only itself. */
function digest(text: string): string {
  return Bun.hash(text).toString(36);
}

function randomId(): string {
  return crypto.getRandomValues(Buffer.alloc(9)).toString("base64url");
}
