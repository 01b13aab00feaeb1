import { fstatSync } from "node:fs";
import type { Sessions } from "../connections/sessions.ts";
import { firstToGo } from "../limits/share.ts";
import type { Unfinished } from "../limits/unfinished.ts";
import type { Check } from "../model/check.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import { mostDescriptors, openDescriptors } from "../observe/process.ts";
import type { Settings } from "../settings/schema.ts";
import type { Listener } from "./exchange.ts";
import type { Owners } from "./owners.ts";
import { openSockets, type Peer, type Sockets } from "./sockets.ts";

/** Keeps descriptors free: without one, Bun accepts nobody, and tries again and again. */
export interface Descriptors {
  /** Throws `overloaded`: all descriptors are held by those who may have them. */
  requireRoom(): void;
  health(): Check;
  attach(server: OnPort): void;
  stop(): void;
}

type OnPort = Pick<Listener, "port">;

/** A connection on which no request is under way. */
interface Idle {
  readonly descriptor: number;
  readonly peer: Peer;
  readonly serial: number;
  readonly isKept: boolean;
}

const look_ms = 100;
/** While they run out: the kernel has thousands of connections waiting, and each look lets some in. */
const hurry_ms = 10;
/** Between two looks passes as many times what a look takes, so that looking never takes much of the processor. */
const rest = 3;
/** After so many looks without a lack it is over. */
const calmLooks = 20;

/** Left for files, for the realms' keys, and for requests between two looks. */
function reserveOf(most: number): number {
  return Math.max(32, Math.ceil(most / 8));
}

/**
 * Bun has neither a hook for a connection that says nothing, nor a limit for their number. So the descriptors are counted, and
 * when only the reserve is left, some make way at once: connections of strangers on which no request is under way, then those
 * whose body is still coming, those that have not authenticated, and last those that are kept for senders of valid credentials;
 * at each look a half of them, from the addresses that hold most.
 */
export function createDescriptors(
  { max_connections }: Pick<Settings, "max_connections">,
  needs: {
    readonly owners: Pick<Owners, "look">;
    readonly unfinished: Pick<Unfinished, "dropHalf" | "count">;
    readonly sessions: Pick<Sessions, "endHalf" | "unauthenticated">;
    readonly events: Pick<Events, "process" | "requests">;
  },
): Descriptors {
  const { owners, unfinished, sessions, events } = needs;
  const most = mostDescriptors();
  const usable = most - reserveOf(most);
  let sockets: Sockets | undefined;
  let timer: Timer | undefined;
  /** Looks without a lack since there was one. */
  let calm = calmLooks;
  let isFull = false;

  function attach(server: OnPort): void {
    if (!Number.isFinite(most)) return;
    try {
      sockets = openSockets();
    } catch (error) {
      return events.process.descriptorsUnwatched(error instanceof Error ? error.message : "unknown reason");
    }
    timer = setTimeout(start, look_ms, server, sockets);
  }

  /** Not before the service has said that it listens. */
  function start(server: OnPort, open: Sockets): void {
    if (max_connections > usable) events.process.descriptorsFew({ descriptors: most, max_connections });
    look(server, open);
  }

  function look(server: OnPort, open: Sockets): void {
    const started_ms = performance.now();
    const used = openDescriptors();
    const isShort = used >= usable;
    if (isShort && calm === calmLooks) events.process.descriptorsShort({ used, most });
    if (!isShort && calm === calmLooks - 1) events.process.descriptorsEnough({ used, most });
    calm = isShort ? 0 : Math.min(calmLooks, calm + 1);
    isFull = isShort && !makeRoom(findIdle(server, open), used, open);
    const after_ms = isShort ? Math.max(hurry_ms, rest * (performance.now() - started_ms)) : look_ms;
    timer = setTimeout(look, after_ms, server, open);
  }

  function findIdle(server: OnPort, { portOf, peerOf }: Sockets): Idle[] {
    const ownedAs = owners.look();
    const idle: Idle[] = [];
    // By number, and not by the names in /proc/self/fd: to list them takes a descriptor, and there may be none.
    for (let descriptor = 0; descriptor < most; descriptor++) {
      if (portOf(descriptor) !== server.port) continue;
      const peer = peerOf(descriptor);
      // The kernel numbers its sockets in the order in which they are made.
      const owned = peer === undefined ? "used" : ownedAs(peer);
      if (peer === undefined || owned === "used") continue;
      idle.push({ descriptor, peer, serial: fstatSync(descriptor).ino, isKept: owned === "kept" });
    }
    return idle.toSorted((a, b) => a.serial - b.serial);
  }

  /** False: were all ended that may be, there would be none to spare. */
  function makeRoom(idle: readonly Idle[], used: number, { shutdown }: Sockets): boolean {
    const others = unfinished.count + sessions.unauthenticated;
    let needed = used - usable + 1;

    function end(some: readonly Idle[]): void {
      // A holder of one IPv6 address mostly has its whole network, the first 8 bytes.
      const ended = firstToGo(some, ({ peer }) => peer.address.slice(0, 16), needed);
      for (const { descriptor } of ended) shutdown(descriptor);
      events.process.descriptorsFreed(ended.length);
      needed -= ended.length;
    }

    end(idle.filter(({ isKept }) => !isKept));
    if (needed > 0) needed -= dropBodies(needed);
    if (needed > 0) needed -= sessions.endHalf("descriptors", needed);
    // The next request may be on its way on it already: its sender would not know whether it was taken.
    if (needed > 0) end(idle.filter(({ isKept }) => isKept));
    return used - idle.length - others < usable;
  }

  function dropBodies(needed: number): number {
    const detail = "The service has no connection to spare for a body that is still coming: send this again, at once.";
    const dropped = unfinished.dropHalf(
      needed,
      new Problem("overloaded", { detail, headers: { Connection: "close" } }),
    );
    events.process.descriptorsFreed(dropped);
    return dropped;
  }

  return {
    requireRoom() {
      if (!isFull) return;
      events.requests.limited("descriptors");
      throw new Problem("overloaded", { detail: "As many connections are open as the system allows the service." });
    },
    health() {
      if (calm === calmLooks) return { name: "descriptors", status: "ok" };
      return { name: "descriptors", status: "degraded", reason: `they run out: the process may have ${most}` };
    },
    attach,
    stop() {
      clearTimeout(timer);
      sockets?.close();
    },
  };
}
