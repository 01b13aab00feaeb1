/**
 * Finds memos by name without reading them. An index on the disk would cost each new name a page at random, which is most of
 * what a commit writes. Here a 32-bit tag of each name is kept with the memo's number: those of the newest block in a hash
 * table, those of each older block sorted, as they are stored, so that a start has nothing to do but to read them. A tag only
 * says where to look: what it finds is compared by its name.
 */
export interface MemoIndex {
  add(tag: number, id: number): void;
  /** The memos that may have the name, newest first. */
  find(tag: number): readonly number[];
  /** Forgets the blocks before one. From here on `undo` takes everything back. */
  begin(oldest: number): void;
  undo(): void;
  /** Ends the newest block, and returns its tags, to be stored. */
  seal(block: number): Float64Array<ArrayBuffer>;
  /** The tags of the newest block so far, to be stored. */
  newest(): Float64Array<ArrayBuffer>;
  /** Adds a block that was sealed. */
  load(block: number, tags: Float64Array<ArrayBuffer>): void;
}

/** So many memos are a block: a number of 53 bits has room for a tag and a place in the block. */
export const perBlock = 65_536;

/** Has to be the same in every version of this service: tags are stored. */
export function tagOf(name: string): number {
  return Bun.hash.xxHash32(name);
}

export function blockOf(id: number): number {
  return Math.floor(id / perBlock);
}

export function placeOf(stored: number): number {
  return stored % perBlock;
}

const slots = perBlock * 2;
const nothing: readonly number[] = [];

export function createMemoIndex(): MemoIndex {
  /** By block, oldest first. */
  const sealed = new Map<number, Float64Array<ArrayBuffer>>();
  let recent = createTable();
  let before = { recent, taken: new Array<number>(), blocks: new Array<number>() };

  function add(tag: number, id: number): void {
    const slot = recent.add(tag, id);
    // A table that was made since is thrown away as a whole.
    if (before.recent === recent) before.taken.push(slot);
  }

  function find(tag: number): readonly number[] {
    let found: number[] | undefined = recent.find(tag);
    for (const [block, tags] of sealed) {
      for (let at = firstOf(tags, tag); Math.floor((tags[at] ?? Infinity) / perBlock) === tag; at++) {
        (found ??= []).push(block * perBlock + placeOf(tags[at] ?? 0));
      }
    }
    return found?.toSorted((a, b) => b - a) ?? nothing;
  }

  return {
    add,
    find,
    begin(oldest) {
      for (const block of sealed.keys()) {
        if (block >= oldest) break;
        sealed.delete(block);
      }
      before = { recent, taken: [], blocks: [] };
    },
    undo() {
      recent = before.recent;
      // Backwards: what probed past a slot was added after it.
      for (const slot of before.taken.toReversed()) recent.clear(slot);
      for (const block of before.blocks) sealed.delete(block);
    },
    seal(block) {
      const tags = recent.toArray().toSorted();
      sealed.set(block, tags);
      before.blocks.push(block);
      recent = createTable();
      return tags;
    },
    newest: () => recent.toArray(),
    load: (block, tags) => void sealed.set(block, tags),
  };
}

/** Open addressing, at most half full. */
function createTable() {
  const tags = new Uint32Array(slots);
  /** 0: the slot is empty. */
  const ids = new Float64Array(slots);

  return {
    add(tag: number, id: number): number {
      let slot = tag % slots;
      while (ids[slot] !== 0) slot = (slot + 1) % slots;
      tags[slot] = tag;
      ids[slot] = id;
      return slot;
    },
    clear(slot: number): void {
      ids[slot] = 0;
    },
    find(tag: number): number[] | undefined {
      let found: number[] | undefined;
      for (let slot = tag % slots; ids[slot] !== 0; slot = (slot + 1) % slots) {
        if (tags[slot] === tag) (found ??= []).push(ids[slot] ?? 0);
      }
      return found;
    },
    toArray(): Float64Array<ArrayBuffer> {
      const all = new Float64Array(perBlock);
      let count = 0;
      for (let slot = 0; slot < slots; slot++) {
        const id = ids[slot] ?? 0;
        if (id !== 0) all[count++] = (tags[slot] ?? 0) * perBlock + placeOf(id);
      }
      return all.slice(0, count);
    },
  };
}

/** The first that is not below a tag. Tags are spread evenly, so the search begins near the place where it has to be. */
function firstOf(sorted: Float64Array<ArrayBuffer>, tag: number): number {
  const wanted = tag * perBlock;
  const guess = Math.floor((tag / 2 ** 32) * sorted.length);
  let low = Math.max(0, guess - near);
  let high = Math.min(sorted.length, guess + near);
  if (low > 0 && (sorted[low - 1] ?? 0) >= wanted) low = 0;
  if (high < sorted.length && (sorted[high] ?? 0) < wanted) high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Four standard deviations of a block. */
const near = 512;
