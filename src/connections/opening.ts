import type { Held } from "../journal/held.ts";
import type { Cursor } from "../model/cursor.ts";
import type { NotificationEntry } from "../model/entry.ts";
import type { Admitted } from "../model/grant.ts";
import type { Resumption } from "./recovery.ts";

/** What a connection gets before anything new, in this order. */
export interface Opening {
  /** For the event `resumed`; undefined: its library tells the client by itself. */
  readonly recovered: boolean | undefined;
  /** What is held for its user, and what it missed, in the order of the journal, nothing twice. */
  readonly older: readonly NotificationEntry[];
  /**
   * For the event `cursor`; undefined: there is nothing to tell. It comes last: a client that is cut before comes back with the
   * place that it had, and gets the rest again.
   */
  readonly head: Cursor | undefined;
}

/** Takes what the client is known to have out of what is held. */
export function openingOf(
  { user, channel }: Pick<Admitted, "user" | "channel">,
  { isHandedIn, recovered, since, confirmed, missed, head }: Resumption,
  held: Pick<Held, "waiting" | "confirm">,
): Opening {
  if (confirmed !== undefined) held.confirm(user, channel, confirmed);
  const waiting = held.waiting(user, channel);
  const older = [...(recovered ? waiting.filter(({ sequence }) => sequence <= since) : waiting), ...missed];
  return { recovered: isHandedIn ? recovered : undefined, older, head };
}
