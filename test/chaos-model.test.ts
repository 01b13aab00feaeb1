import { describe, expect, test } from "bun:test";
import { judge, type Accepted, type Event } from "./chaos/model.ts";

/** The judge of the chaos tests: what it lets pass, and what it finds. */

const entry = (sequence: number, more: Partial<Accepted> = {}): Accepted => ({
  msg: sequence,
  sequence,
  keycloak: undefined,
  channel: undefined,
  ttl: 0,
  ...more,
});
const got = (...sequences: readonly number[]): Event[] =>
  sequences.map((sequence) => ({ kind: "got", msg: sequence, sequence }));
const at = (place: number): Event => ({ kind: "connected", recovered: false, place });
const recoveredFrom = (again: number): Event => ({ kind: "connected", recovered: true, place: 0, again });
const recovered: Event = { kind: "connected", recovered: true, place: 0 };

const four = [entry(1), entry(2), entry(3), entry(4)];
const held = [entry(1), entry(2, { ttl: 60, keycloak: ["alice"] }), entry(3), entry(4)];

function wrongOf(accepted: readonly Accepted[], events: readonly Event[], buffered: readonly number[] = []) {
  const page = { user: "alice", channel: "msf", events, buffered: new Set(buffered), hasLeft: false };
  return judge(accepted, [page]).wrong.map((line) => line.replace(/: alice on msf/, ""));
}

describe("the judge lets pass", () => {
  const histories: Record<string, [Accepted[], Event[], number[]?]> = {
    "everything from the place of the first connect on": [four, [at(2), ...got(3, 4)]],
    "everything over a recovered cut": [four, [at(0), ...got(1, 2), recovered, ...got(3, 4)]],
    "what was missed while a page was away for too long": [four, [at(0), ...got(1), at(3), ...got(4)]],
    "what is for other users and on other channels": [
      [entry(1, { keycloak: ["bob"] }), entry(2), entry(3, { channel: ["b2b"] })],
      [at(0), ...got(2)],
    ],
    "what was held, before anything newer": [held, [at(3), ...got(2, 4)]],
    "what is held, again after a cut": [held, [at(0), ...got(1, 2, 3), recovered, ...got(2, 4)]],
    "what comes again after the place that a page kept while it was cut within a replay": [
      four,
      [at(0), ...got(1), recoveredFrom(1), ...got(2, 3), recoveredFrom(1), ...got(2, 3, 4)],
    ],
    "what the client had in its own buffer": [four, [at(0), ...got(1, 2, 3), recovered, ...got(2, 3, 4)], [2, 3]],
  };
  for (const [name, [accepted, events, buffered]] of Object.entries(histories)) {
    test(name, () => expect(wrongOf(accepted, events, buffered)).toEqual([]));
  }
});

describe("the judge finds", () => {
  const histories: Record<string, [string[], Accepted[], Event[]]> = {
    "a hole between two notifications": [["holes: between 1 and 3"], four, [at(0), ...got(1, 3, 4)]],
    "a hole after a recovered cut": [["holes: between 2 and 4"], four, [at(0), ...got(1, 2), recovered, ...got(4)]],
    "a hole before a page was away for too long": [["holes: between 1 and 3"], four, [at(0), ...got(1, 3), at(4)]],
    "a hole at the end": [["holes: after 3"], four, [at(0), ...got(1, 2, 3)]],
    "one that came twice": [["twice: 2 after 2"], four, [at(0), ...got(1, 2, 2, 3, 4)]],
    "one that came twice, over a cut": [["twice: 2 after 2"], four, [at(0), ...got(1, 2), recovered, ...got(2, 3, 4)]],
    "one that came twice, from before the place that a page kept": [
      ["twice: 2 after 2"],
      four,
      [at(0), ...got(1, 2), recoveredFrom(2), ...got(2, 3, 4)],
    ],
    "one that came too late": [
      ["holes: between 1 and 3", "out of order: 2 after 3"],
      four,
      [at(0), ...got(1, 3, 2, 4)],
    ],
    "one that is older than the connection": [["out of order: 2 after 3"], four, [at(3), ...got(2, 4)]],
    "one that was held, twice on one connection": [["twice: 2 after 2"], held, [at(1), ...got(2, 2, 3, 4)]],
    "one that was held, after something newer": [["out of order: 2 after 4"], held, [at(3), ...got(4, 2)]],
    "one that was held and never came": [["held lost: 2"], held, [at(3), ...got(4)]],
    "one that was for somebody else": [["foreign: 9 at 9, which is nothing for it"], four, [at(4), ...got(9)]],
  };
  for (const [name, [wrong, accepted, events]] of Object.entries(histories)) {
    test(name, () => expect(wrongOf(accepted, events)).toEqual(wrong));
  }
});
