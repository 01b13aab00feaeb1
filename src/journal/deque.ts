/**
 * A list that grows at its end and shrinks at its front, both at no cost worth naming; `shift` of an array moves all the rest.
 * Plain data and functions: there is one for each user with a notification in the window.
 */
export interface Deque<T> {
  items: (T | undefined)[];
  first: number;
}

/** Begins with these items, and takes no more room than they need: most lists have one. */
export function createDeque<T>(items: T[] = []): Deque<T> {
  return { items, first: 0 };
}

export function push<T>(deque: Deque<T>, item: T): void {
  deque.items.push(item);
}

export function shift<T>(deque: Deque<T>): T | undefined {
  if (deque.first >= deque.items.length) return undefined;
  const item = deque.items[deque.first];
  deque.items[deque.first++] = undefined;
  // Moved down when half of it is empty: each item is moved once on average.
  if (deque.first * 2 > deque.items.length) {
    deque.items = deque.items.slice(deque.first);
    deque.first = 0;
  }
  return item;
}

export function at<T>(deque: Deque<T>, index: number): T | undefined {
  return deque.items[deque.first + index];
}

export function lengthOf(deque: Deque<unknown>): number {
  return deque.items.length - deque.first;
}
