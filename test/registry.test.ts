import { expect, test } from "bun:test";
import * as fc from "fast-check";
import * as v from "valibot";
import { createRegistry, type Member } from "../src/connections/registry.ts";
import { Channel, KeycloakId, SessionId } from "../src/model/names.ts";
import { expectOfHistories } from "./support/history.ts";

const users = ["alice", "bob", "carol"].map((name) => v.parse(KeycloakId, name));
const channels = ["msf", "b2b", "__proto__"].map((name) => v.parse(Channel, name));
const sessions = ["s1", "s2", "__proto__"].map((name) => v.parse(SessionId, name));

const step = fc.record({
  /** A member to add, or the number of the one to remove. */
  change: fc.oneof(
    fc.record({
      user: fc.constantFrom(...users),
      channel: fc.constantFrom(...channels),
      session: fc.constantFrom(null, ...sessions),
    }),
    fc.nat(),
  ),
  /** Twice is once. */
  isTwice: fc.boolean(),
});

test("the registry agrees with a plain list, by user, channel and session, and keeps no empty name", () => {
  expectOfHistories(step, 100, (steps) => {
    const registry = createRegistry<Member>();
    let all: Member[] = [];
    for (const { change, isTwice } of steps) {
      if (typeof change === "object") {
        all.push(change);
        registry.add(change);
        if (isTwice) registry.add(change);
      } else {
        const member = all[change % all.length];
        if (member === undefined) continue;
        all = all.filter((other) => other !== member);
        registry.remove(member);
        if (isTwice) registry.remove(member);
      }
      const which = (members: Iterable<Member>) => new Set([...members].map((member) => all.indexOf(member)));
      expect({
        ofUser: users.map((user) => which(registry.ofUser(user))),
        onChannel: channels.map((channel) => which(registry.onChannel(channel))),
        ofSession: sessions.map((session) => which(registry.ofSession(session))),
        size: registry.size,
        users: registry.users,
        channels: [...registry.channels()].map(([name]) => name).toSorted(),
      }).toEqual({
        ofUser: users.map((user) => which(all.filter((member) => member.user === user))),
        onChannel: channels.map((channel) => which(all.filter((member) => member.channel === channel))),
        ofSession: sessions.map((session) => which(all.filter((member) => member.session === session))),
        size: all.length,
        users: new Set(all.map(({ user }) => user)).size,
        channels: [...new Set(all.map(({ channel }) => channel))].toSorted(),
      });
    }
  });
});
