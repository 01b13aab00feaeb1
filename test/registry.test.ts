import { expect, test } from "bun:test";
import * as v from "valibot";
import { createRegistry, type Member } from "../src/connections/registry.ts";
import { Channel, KeycloakId, SessionId } from "../src/model/names.ts";
import { pick, seeded } from "./support/random.ts";

const users = ["alice", "bob", "carol"].map((name) => v.parse(KeycloakId, name));
const channels = ["msf", "b2b", "__proto__"].map((name) => v.parse(Channel, name));
const sessions = [null, ...["s1", "s2", "__proto__"].map((name) => v.parse(SessionId, name))];

test("the registry agrees with a plain list, by user, channel and session, and keeps no empty name", () => {
  const { seed, random } = seeded();
  const registry = createRegistry<Member>();
  const all: Member[] = [];
  for (let step = 0; step < 3000; step++) {
    const dice = random();
    if (dice < 0.4 || all.length === 0) {
      const member = { user: pick(random, users), channel: pick(random, channels), session: pick(random, sessions) };
      all.push(member);
      registry.add(member);
      // Twice is once.
      if (random() < 0.1) registry.add(member);
    } else if (dice < 0.85) {
      const [member] = all.splice(Math.floor(random() * all.length), 1);
      if (member !== undefined) registry.remove(member);
      // One that is gone is gone.
      if (member !== undefined && random() < 0.1) registry.remove(member);
    }
    const [user, channel, session] = [pick(random, users), pick(random, channels), pick(random, sessions)];
    const found = {
      ofUser: new Set(registry.ofUser(user)),
      onChannel: new Set(registry.onChannel(channel)),
      ofSession: new Set(session === null ? [] : registry.ofSession(session)),
      size: registry.size,
      users: registry.users,
      channels: [...registry.channels()].map(([name]) => name).toSorted(),
    };
    const names = <T>(of: (member: Member) => T) => [...new Set(all.map(of))];
    expect({ seed, step, ...found }).toEqual({
      seed,
      step,
      ofUser: new Set(all.filter((member) => member.user === user)),
      onChannel: new Set(all.filter((member) => member.channel === channel)),
      ofSession: new Set(all.filter((member) => session !== null && member.session === session)),
      size: all.length,
      users: names((member) => member.user).length,
      channels: names((member) => member.channel).toSorted(),
    });
  }
});
