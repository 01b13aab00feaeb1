/** What was accepted, and what has to become of it on every page, whatever happens in between. */
export interface Accepted {
  readonly msg: number;
  readonly sequence: number;
  readonly keycloak: readonly string[] | undefined;
  readonly channel: readonly string[] | undefined;
  readonly ttl: number;
}

export type Event =
  /**
   * `place`: the sequence from which on this line of connections gets everything. `again`: the sequence after which it gets
   * everything again: it was cut within a replay, and keeps the place that it had before until it has all of it.
   */
  | { readonly kind: "connected"; readonly recovered: boolean; readonly place: number; readonly again?: number }
  | { readonly kind: "got"; readonly msg: unknown; readonly sequence: number };

/** What happened on a page, in order. */
export interface History {
  readonly user: string;
  readonly channel: string;
  readonly events: readonly Event[];
  /** The sequences that the stock client had in its own buffer when it came back: it emits them, and gets them again. */
  readonly buffered: ReadonlySet<number>;
  /** It was closed before the end. */
  readonly hasLeft: boolean;
}

const nothing = {
  accepted: 0,
  delivered: 0,
  recovered: 0,
  "not recovered": 0,
  /** While a page was away for too long, which it was told. */
  missed: 0,
  "held delivered": 0,
  "held lost": 0,
  holes: 0,
  "out of order": 0,
  "again in a replay": 0,
  twice: 0,
  "twice by the client": 0,
  foreign: 0,
};
type Count = keyof typeof nothing;

export interface Verdict {
  readonly counts: Readonly<Record<Count, number>>;
  /** What must not be, described. */
  readonly wrong: readonly string[];
}

/** What one user may get on one channel, in order. */
interface Expected {
  readonly bySequence: ReadonlyMap<number, Accepted>;
  /** How many there are after a place, up to and with another. */
  between(after: number, upTo: number): number;
}

/**
 * No hole without `recovered === false`; in order; once, but for what is held and what the client itself gives out twice; and
 * what is held at least once to each of its users.
 */
export function judge(accepted: readonly Accepted[], histories: readonly History[]): Verdict {
  const counts = { ...nothing, accepted: accepted.length };
  const wrong: string[] = [];
  const expectedOf = createExpected(accepted);
  const gotBy = new Map<string, Set<number>>();

  function fault(count: Count, { user, channel }: Pick<History, "user" | "channel">, what: string, times = 1): void {
    if (times === 0) return;
    counts[count] += times;
    wrong.push(`${count}: ${user} on ${channel}: ${what}`);
  }

  for (const history of histories) {
    const got = judgePage(history, expectedOf(history.user, history.channel));
    gotBy.set(history.user, (gotBy.get(history.user) ?? new Set()).union(got));
  }

  /** Tells what the page got. */
  function judgePage(history: History, expected: Expected): Set<number> {
    const got = new Set<number>();
    // Up to here this line of connections has everything; and the newest that came by this connection.
    let [place, newest, again] = [0, 0, Infinity];
    for (const [i, event] of history.events.entries()) {
      if (event.kind === "connected") {
        newest = 0;
        again = event.again ?? Infinity;
        if (event.recovered) counts.recovered++;
        else {
          if (i > 0) {
            counts["not recovered"]++;
            counts.missed += expected.between(place, event.place);
          }
          place = event.place;
        }
        continue;
      }
      const { msg, sequence } = event;
      const entry = expected.bySequence.get(sequence);
      const isAgain = got.has(sequence);
      got.add(sequence);
      if (entry === undefined || entry.msg !== msg) {
        fault("foreign", history, `${String(msg)} at ${sequence}, which is ${entry?.msg ?? "nothing for it"}`);
        continue;
      }
      if (isAgain && history.buffered.has(sequence)) {
        counts["twice by the client"]++;
        continue;
      }
      counts.delivered++;
      if (sequence > place && sequence > newest) {
        fault("holes", history, `between ${place} and ${sequence}`, expected.between(place, sequence - 1));
        place = sequence;
      } else if (sequence > newest && entry.ttl > 0) counts["held delivered"]++;
      else if (sequence > newest && sequence > again) counts["again in a replay"]++;
      else fault(isAgain ? "twice" : "out of order", history, `${sequence} after ${Math.max(place, newest)}`);
      newest = Math.max(newest, sequence);
    }
    if (!history.hasLeft) fault("holes", history, `after ${place}`, expected.between(place, Infinity));
    return got;
  }

  for (const { user, channel, hasLeft } of histories) {
    if (hasLeft) continue;
    for (const { sequence, ttl, keycloak } of expectedOf(user, channel).bySequence.values()) {
      if (ttl === 0 || keycloak === undefined || gotBy.get(user)?.has(sequence) === true) continue;
      fault("held lost", { user, channel }, `${sequence}`);
    }
  }
  return { counts, wrong };
}

function createExpected(accepted: readonly Accepted[]): (user: string, channel: string) => Expected {
  const made = new Map<string, Expected>();
  return (user, channel) => {
    const key = `${user} ${channel}`;
    const before = made.get(key);
    if (before !== undefined) return before;
    const entries = accepted
      .filter((entry) => (entry.keycloak?.includes(user) ?? true) && (entry.channel?.includes(channel) ?? true))
      .toSorted((a, b) => a.sequence - b.sequence);
    const expected: Expected = {
      bySequence: new Map(entries.map((entry) => [entry.sequence, entry])),
      between: (after, upTo) => Math.max(0, upToIndex(entries, upTo) - upToIndex(entries, after)),
    };
    made.set(key, expected);
    return expected;
  };
}

/** How many entries have a sequence up to this one, by bisection. */
function upToIndex(entries: readonly Accepted[], sequence: number): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((entries[middle]?.sequence ?? Infinity) <= sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function sequenceOf(cursor: unknown): number {
  return Number(/-(\d+)$/.exec(String(cursor))?.[1]);
}
