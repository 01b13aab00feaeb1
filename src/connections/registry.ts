import type { Channel, KeycloakId } from "../model/names.ts";

export interface Member {
  readonly user: KeycloakId;
  readonly channel: Channel;
}

/** Who is connected where. Pure: it knows nothing of sockets. */
export interface Registry<M extends Member> {
  add(member: M): void;
  /** Harmless for a member that is not there. */
  remove(member: M): void;
  /** A user's connections: few, so a plain list. Not a copy: it changes while members come and go. */
  ofUser(user: KeycloakId): readonly M[];
  onChannel(channel: Channel): ReadonlySet<M>;
  channels(): MapIterator<[Channel, ReadonlySet<M>]>;
  all(): Generator<M>;
  readonly size: number;
  readonly users: number;
}

const nobody: ReadonlySet<never> = new Set<never>();

export function createRegistry<M extends Member>(): Registry<M> {
  const byUser = new Map<KeycloakId, M[]>();
  const byChannel = new Map<Channel, Set<M>>();
  let size = 0;

  function add(member: M): void {
    const list = byUser.get(member.user);
    if (list?.includes(member) === true) return;
    if (list === undefined) byUser.set(member.user, [member]);
    else list.push(member);
    const set = byChannel.get(member.channel);
    if (set === undefined) byChannel.set(member.channel, new Set([member]));
    else set.add(member);
    size++;
  }

  function remove(member: M): void {
    const list = byUser.get(member.user);
    const index = list?.indexOf(member) ?? -1;
    if (list === undefined || index < 0) return;
    // Emptied lists and sets go: names are chosen by strangers, and must not pile up.
    if (list.length === 1) byUser.delete(member.user);
    else list.splice(index, 1);
    const set = byChannel.get(member.channel);
    set?.delete(member);
    if (set?.size === 0) byChannel.delete(member.channel);
    size--;
  }

  function* all(): Generator<M> {
    for (const set of byChannel.values()) yield* set;
  }

  return {
    add,
    remove,
    ofUser: (user) => byUser.get(user) ?? [],
    onChannel: (channel) => byChannel.get(channel) ?? nobody,
    channels: () => byChannel.entries(),
    all,
    get size() {
      return size;
    },
    get users() {
      return byUser.size;
    },
  };
}
