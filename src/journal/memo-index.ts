/**
 * Finds memos by name without reading them: a hash table of 12 bytes a slot, at most half full, that holds a 32-bit tag of
 * each name and the memo's number. An index on the disk would cost each new name a page at random, which is most of what a
 * commit writes. A tag only says where to look: what it finds is compared by its name.
 */
export interface MemoIndex {
  add(tag: number, id: number): void;
  /** The memos that may have the name, newest first. Some may be gone. */
  find(tag: number): readonly number[];
}

const least = 1024;
const nothing: readonly number[] = [];

/** Has to be the same in every version of this service: tags are stored. */
export function tagOf(name: string): number {
  return Bun.hash.xxHash32(name);
}

/**
 * @param expected how many are about to be added.
 * @param oldest the number of the oldest memo that is left: those before it make room.
 */
export function createMemoIndex(expected: number, oldest: () => number): MemoIndex {
  let slots = slotsFor(expected);
  let tags = new Uint32Array(slots);
  /** 0: the slot is empty. */
  let ids = new Float64Array(slots);
  let used = 0;

  function add(tag: number, id: number): void {
    if ((used + 1) * 2 > slots) rebuild();
    put(tag, id);
  }

  function put(tag: number, id: number): void {
    let slot = tag & (slots - 1);
    while (ids[slot] !== 0) slot = (slot + 1) & (slots - 1);
    tags[slot] = tag;
    ids[slot] = id;
    used++;
  }

  function find(tag: number): readonly number[] {
    let found: number[] | undefined;
    for (let slot = tag & (slots - 1); ids[slot] !== 0; slot = (slot + 1) & (slots - 1)) {
      if (tags[slot] === tag) (found ??= []).push(ids[slot] ?? 0);
    }
    return found?.toSorted((a, b) => b - a) ?? nothing;
  }

  function rebuild(): void {
    const [oldTags, oldIds, from] = [tags, ids, oldest()];
    const left = oldIds.reduce((count, id) => (id >= from ? count + 1 : count), 0);
    slots = slotsFor(left);
    tags = new Uint32Array(slots);
    ids = new Float64Array(slots);
    used = 0;
    for (const [slot, id] of oldIds.entries()) if (id >= from) put(oldTags[slot] ?? 0, id);
  }

  return { add, find };
}

/** At most a quarter full, so that it is rebuilt once for each doubling. */
function slotsFor(count: number): number {
  return Math.max(least, 2 ** Math.ceil(Math.log2(Math.max(1, count) * 4)));
}
