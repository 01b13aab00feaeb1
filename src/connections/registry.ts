import type { Channel, KeycloakId, SessionId } from "../model/names.ts";

export interface Member {
  readonly user: KeycloakId;
  readonly channel: Channel;
  /** The Keycloak session; null: of none. */
  readonly session: SessionId | null;
}

/** Who is connected where. Pure: it knows nothing of sockets. */
export interface Registry<M extends Member> {
  add(member: M): void;
  /** Harmless for a member that is not there. */
  remove(member: M): void;
  has(member: M): boolean;
  /** A user's connections: few, so a plain list. Not a copy: it changes while members come and go. */
  ofUser(user: KeycloakId): readonly M[];
  onChannel(channel: Channel): ReadonlySet<M>;
  /** Those of one Keycloak session: the tabs of one browser, mostly. */
  ofSession(session: SessionId): readonly M[];
  channels(): MapIterator<[Channel, ReadonlySet<M>]>;
  all(): Generator<M>;
  readonly size: number;
  readonly users: number;
}

const nobody: ReadonlySet<never> = new Set<never>();

export function createRegistry<M extends Member>(): Registry<M> {
  const byUser = new Map<KeycloakId, M[]>();
  const byChannel = new Map<Channel, Set<M>>();
  const bySession = new Map<SessionId, M[]>();
  let size = 0;

  function add(member: M): void {
    if (has(member)) return;
    addTo(byUser, member.user, member);
    if (member.session !== null) addTo(bySession, member.session, member);
    const set = byChannel.get(member.channel);
    if (set === undefined) byChannel.set(member.channel, new Set([member]));
    else set.add(member);
    size++;
  }

  function has(member: M): boolean {
    return byUser.get(member.user)?.includes(member) === true;
  }

  function remove(member: M): void {
    if (!removeFrom(byUser, member.user, member)) return;
    if (member.session !== null) removeFrom(bySession, member.session, member);
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
    has,
    ofUser: (user) => byUser.get(user) ?? [],
    onChannel: (channel) => byChannel.get(channel) ?? nobody,
    ofSession: (session) => bySession.get(session) ?? [],
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

function addTo<K, M>(lists: Map<K, M[]>, key: K, member: M): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [member]);
  else list.push(member);
}

/** Emptied lists and sets go: names are chosen by strangers, and must not pile up. */
function removeFrom<K, M>(lists: Map<K, M[]>, key: K, member: M): boolean {
  const list = lists.get(key);
  const index = list?.indexOf(member) ?? -1;
  if (list === undefined || index < 0) return false;
  if (list.length === 1) lists.delete(key);
  else list.splice(index, 1);
  return true;
}
