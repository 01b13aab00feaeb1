// A backend: sends notifications one way or another, and counts that every page got each of them exactly once.
import * as v from "valibot";
import type { Requests } from "./requests.ts";

export interface Target {
  readonly channel: string;
  readonly keycloak?: string;
}

export interface Notifier {
  /** Resolves when the receipt and all of the `expected` deliveries are there. */
  readonly notify: (requests: Requests, target: Target, expected: number) => Promise<void>;
  /** To be called with the number of each notification that arrives at a page. */
  readonly notified: (n: number) => void;
}

const ARRIVAL_LIMIT_MS = 20_000;
const Receipt = v.object({ connections: v.number() });

/** A copy too many, or one lost, voids the run: `fail` is called and never returns. */
export function createNotifier(api_key: string, fail: (reason: string) => never): Notifier {
  /** Under way: how many pages still have to get each. */
  const missing = new Map<number, { left: number; arrived: () => void }>();
  /** Seven digits, so that the page finds the number at a fixed place. */
  let lastNumber = 1_000_000;

  async function notify(requests: Requests, target: Target, expected: number): Promise<void> {
    const n = ++lastNumber;
    const { promise, resolve } = Promise.withResolvers<void>();
    missing.set(n, { left: expected, arrived: resolve });
    // 80 bytes of JSON.
    const msg = { n, title: "Order 4711 was shipped", text: "It's with you on Friday." };
    const body = JSON.stringify({ API_KEY: api_key, msg, ...target });
    const answer = await requests.send("POST", "/notify", { "Content-Type": "application/json" }, body);
    if (answer.status !== 200) fail(`/notify answered ${answer.status}: ${answer.body}`);
    const { connections } = v.parse(Receipt, JSON.parse(answer.body));
    if (connections !== expected) fail(`a receipt says ${connections} connections instead of ${expected}`);
    const late = setTimeout(() => fail(`${missing.get(n)?.left} of ${expected} deliveries are lost`), ARRIVAL_LIMIT_MS);
    await promise;
    clearTimeout(late);
  }

  function notified(n: number): void {
    const delivery = missing.get(n);
    if (delivery === undefined) fail(`notification ${n} arrived once too often`);
    delivery.left -= 1;
    if (delivery.left > 0) return;
    missing.delete(n);
    delivery.arrived();
  }

  return { notify, notified };
}
