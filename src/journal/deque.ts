/** A list that grows at its end and shrinks at its front, both at no cost worth naming; `shift` of an array moves all the rest. */
export interface Deque<T> {
  push(item: T): void;
  shift(): T | undefined;
  at(index: number): T | undefined;
  readonly length: number;
}

export function createDeque<T>(): Deque<T> {
  let items: (T | undefined)[] = [];
  let first = 0;
  return {
    push: (item) => void items.push(item),
    shift() {
      if (first >= items.length) return undefined;
      const item = items[first];
      items[first++] = undefined;
      // Moved down when half of it is empty: each item is moved once on average.
      if (first * 2 > items.length) {
        items = items.slice(first);
        first = 0;
      }
      return item;
    },
    at: (index) => items[first + index],
    get length() {
      return items.length - first;
    },
  };
}
