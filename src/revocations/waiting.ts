/** Something that waits, and whom it counts against. */
export interface Waiter {
  /** The same again takes no second place. */
  readonly id: string;
  /** Undefined: limits per address are off for it. */
  readonly address: string | undefined;
}

/** Places for what cannot be judged yet, which anybody may have sent. */
export interface Waiting<T extends Waiter> {
  /** Gives it a place, and returns the one that lost its place for it. */
  add(waiter: T): T | undefined;
  /** Whether it had a place. */
  remove(waiter: T): boolean;
  all(): readonly T[];
  readonly size: number;
}

/**
 * Strangers can fill all places, but not keep others out: the address with the most places loses its oldest one. So an address
 * that sends few things keeps them as long as `most` is larger than `mostPerAddress` times the number of flooding addresses, and
 * beyond that, as long as it has fewer than each of them.
 */
export function createWaiting<T extends Waiter>(limits: { most: number; mostPerAddress: number }): Waiting<T> {
  /** In the order in which they came. */
  const places = new Map<string, T>();

  function add(waiter: T): T | undefined {
    if (places.has(waiter.id)) return undefined;
    places.set(waiter.id, waiter);
    const { address } = waiter;
    const isOver = address !== undefined && ofAddress(address).length > limits.mostPerAddress;
    if (!isOver && places.size <= limits.most) return undefined;
    const [oldest] = isOver ? ofAddress(address) : largest();
    if (oldest !== undefined) places.delete(oldest.id);
    return oldest;
  }

  function ofAddress(address: string | undefined): T[] {
    return [...places.values()].filter((waiter) => waiter.address === address);
  }

  function largest(): readonly T[] {
    const byAddress = Map.groupBy(places.values(), ({ address }) => address);
    return [...byAddress.values()].reduce((most, some) => (some.length > most.length ? some : most), []);
  }

  return {
    add,
    remove: ({ id }) => places.delete(id),
    all: () => [...places.values()],
    get size() {
      return places.size;
    },
  };
}
