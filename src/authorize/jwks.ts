import type { LocalJWKSet } from "jose";
import { createRateLimit } from "../limits/rate.ts";
import type { Check } from "../model/check.ts";
import type { JwksEvent } from "../observe/access-events.ts";
import { fetchKeys, jwksFailures, type FetchOptions, type JwksFailure, type KeysSource } from "./jwks-fetch.ts";
import type { Keys } from "./realm-keys.ts";

export interface JwksOptions {
  /** A clock that nobody sets: keys and waits are aged by it. */
  readonly uptime_ms?: () => number;
  readonly fetch?: FetchOptions["fetch"];
  /** Runs something later, and returns what cancels it. The default does not keep the process alive. */
  readonly schedule?: (run: () => void, delay_ms: number) => () => void;
  readonly timeout_ms?: number;
  readonly onEvent?: (event: JwksEvent) => void;
}

/** What a token is for whose key is looked for. */
export type Purpose = "login" | "logout";

/** What there is of a key. */
export type Found =
  /** The keys of that id. */
  | { readonly kind: "keys"; readonly keys: readonly [LocalJWKSet, ...LocalJWKSet[]] }
  /** The realm was asked after the token came, and has no such key. */
  | { readonly kind: "unknown" }
  /** The realm publishes it, and it cannot verify anything. */
  | { readonly kind: "unusable" }
  /** The realm cannot be asked now. */
  | { readonly kind: "later"; readonly wait_seconds: number };

export interface Jwks {
  /** Whether there is a key of this id, without asking the realm. */
  readonly has: (kid: string) => boolean;
  /** Asks the realm for a key that is not known, unless it was asked too often. */
  readonly find: (kid: string, purpose: Purpose) => Promise<Found>;
  readonly health: () => Omit<Check, "name">;
  /** How old the keys in use are; undefined: there are none. */
  readonly age_ms: () => number | undefined;
  /** The first fetch. Never throws: `health` says how it went, and retries follow. */
  readonly start: () => Promise<void>;
  readonly stop: () => void;
}

const fresh_ms = 10 * 60_000;
const usable_ms = 24 * 60 * 60_000;
/** How often a realm is asked for keys that are not known, for each purpose. */
const lookups = { rate_per_second: 0.1, burst: 3 } as const;
/** So long a key that the realm did not have is not asked for again by access tokens: a page with an old one asks often. */
const absent_ms = 10_000;
const mostAbsent = 1000;
const firstRetry_ms = 1_000;
const longestRetry_ms = 60_000;
/** When to ask again while the realm cannot be reached: nobody knows. */
const outage_seconds = 5;

/**
 * The signature keys of a realm. Whatever tokens arrive, the realm gets one fetch at a time, and no more of them than: one in
 * ten minutes; the retries; and for keys that are not known three at once and then one in ten seconds, for access tokens and as
 * many for logout tokens. Strangers can use these up by naming keys that do not exist, but each fetch brings all keys, so that
 * nobody waits longer than ten seconds for a new one. Good keys outlive an outage by a day.
 */
export function createJwks(realm: KeysSource, options: JwksOptions): Jwks {
  const {
    uptime_ms = () => performance.now(),
    fetch = globalThis.fetch,
    schedule = later,
    timeout_ms = 5_000,
    onEvent,
  } = options;
  const limit = createRateLimit({ ...lookups, mostKeys: 2, now: uptime_ms });
  const stopped = new AbortController();
  let good: (Keys & { readonly fetchedAt_ms: number }) | undefined;
  let failing: { reason: JwksFailure; failures: number } | undefined;
  let pending: Promise<void> | undefined;
  /** How many fetches have begun. */
  let begun = 0;
  /** When which keys were looked for in vain, in order. */
  const absent = new Map<string, number>();
  let due_ms = -Infinity;
  let cancelTimer: (() => void) | undefined;

  async function find(kid: string, purpose: Purpose): Promise<Found> {
    const known = foundIn(kid);
    if (known !== undefined) return known;
    if (purpose === "login" && !isFailing() && wasAbsent(kid)) return { kind: "unknown" };
    const before = begun;
    // What arrives in one turn of the event loop shares one fetch.
    await Promise.resolve();
    return lookFor(kid, purpose, before);
  }

  /** @param before how many fetches had begun when the token came: theirs may be answers from before the realm had its key. */
  async function lookFor(kid: string, purpose: Purpose, before: number): Promise<Found> {
    const known = foundIn(kid);
    if (known !== undefined) return known;
    if (pending === undefined) {
      if (begun > before && !isFailing()) return notFound(kid);
      const wait_seconds = untilNextFetch_seconds(purpose);
      if (wait_seconds > 0) return { kind: "later", wait_seconds };
      void refresh();
    }
    await pending;
    return lookFor(kid, purpose, before);
  }

  function notFound(kid: string): Found {
    if (usable()?.unusable.has(kid) === true) return { kind: "unusable" };
    absent.delete(kid);
    absent.set(kid, uptime_ms());
    const [oldest] = absent.keys();
    if (absent.size > mostAbsent && oldest !== undefined) absent.delete(oldest);
    return { kind: "unknown" };
  }

  function wasAbsent(kid: string): boolean {
    return uptime_ms() - (absent.get(kid) ?? -Infinity) < absent_ms;
  }

  function foundIn(kid: string): Found | undefined {
    const [first, ...others] = usable()?.byKid.get(kid) ?? [];
    if (first === undefined) return undefined;
    if (uptime_ms() >= due_ms) void refresh();
    return { kind: "keys", keys: [first, ...others] };
  }

  /** While fetches fail, a key that is not known may well be good: that is our outage, and not the user's fault. */
  function isFailing(): boolean {
    return failing !== undefined || usable() === undefined;
  }

  function untilNextFetch_seconds(purpose: Purpose): number {
    if (stopped.signal.aborted) return outage_seconds;
    if (!isFailing()) return limit.take(purpose);
    // The retries of an outage have their own pace.
    return uptime_ms() < due_ms ? outage_seconds : 0;
  }

  function usable(): typeof good {
    return good !== undefined && uptime_ms() < good.fetchedAt_ms + usable_ms ? good : undefined;
  }

  async function refresh(): Promise<void> {
    if (stopped.signal.aborted) return;
    if (pending === undefined) begun++;
    pending ??= fetchKeys(realm, { fetch, timeout_ms, signal: stopped.signal }).then(settle);
    await pending;
  }

  function settle(loaded: Keys | JwksFailure): void {
    pending = undefined;
    if (typeof loaded === "string") {
      failing = { reason: loaded, failures: (failing?.failures ?? 0) + 1 };
    } else {
      good = { ...loaded, fetchedAt_ms: uptime_ms() };
      failing = undefined;
    }
    if (stopped.signal.aborted) return;
    const retry_ms = failing === undefined ? 0 : Math.min(longestRetry_ms, firstRetry_ms * 2 ** (failing.failures - 1));
    const delay_ms = failing === undefined ? fresh_ms : retry_ms;
    due_ms = uptime_ms() + delay_ms;
    cancelTimer?.();
    cancelTimer = schedule(() => void refresh(), delay_ms);
    const detail = failing && jwksFailures[failing.reason];
    if (failing !== undefined) onEvent?.({ kind: "jwks_failed", ...failing, detail, retry_ms });
    else onEvent?.({ kind: "jwks_fetched", keys: good?.byKid.size ?? 0, problem: problem() });
  }

  /** What users will meet although the keys were fetched. */
  function problem(): string | undefined {
    const keys = usable();
    if (keys?.isAccepted === false)
      return "none of the realm's keys is for an accepted algorithm (keycloak.algorithms)";
    const [unusable] = keys?.unusable ?? [];
    return unusable === undefined
      ? undefined
      : `the realm publishes a key that cannot verify anything (kid ${unusable})`;
  }

  function health(): Omit<Check, "name"> {
    const failure = failing === undefined ? {} : { reason: jwksFailures[failing.reason] };
    if (usable() === undefined)
      return { status: "unavailable", reason: "the realm's keys were not fetched yet", ...failure };
    const reason = failure.reason ?? problem();
    return reason === undefined ? { status: "ok" } : { status: "degraded", reason };
  }

  function stop(): void {
    stopped.abort();
    cancelTimer?.();
  }

  const has = (kid: string): boolean => usable()?.byKid.has(kid) === true;

  function age_ms(): number | undefined {
    const keys = usable();
    return keys && uptime_ms() - keys.fetchedAt_ms;
  }

  return { has, find, health, age_ms, start: refresh, stop };
}

function later(run: () => void, delay_ms: number): () => void {
  const timer = setTimeout(run, delay_ms);
  timer.unref();
  return () => clearTimeout(timer);
}
