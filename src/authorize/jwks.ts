import type { LocalJWKSet } from "jose";
import type { Check } from "../model/check.ts";
import type { JwksEvent } from "../observe/access-events.ts";
import {
  fetchKeys,
  jwksFailures,
  type FetchOptions,
  type JwksFailure,
  type Keys,
  type KeysSource,
} from "./jwks-fetch.ts";

export interface JwksOptions {
  readonly now?: () => number;
  readonly fetch?: FetchOptions["fetch"];
  /** Runs something later, and returns what cancels it. The default does not keep the process alive. */
  readonly schedule?: (run: () => void, delay_ms: number) => () => void;
  readonly timeout_ms?: number;
  readonly onEvent?: (event: JwksEvent) => void;
}

export interface Jwks {
  /** The keys to verify with, if the key `kid` is one of them. */
  readonly find: (kid: string) => Promise<LocalJWKSet | "unknown_key" | "cooling_down" | "unavailable">;
  readonly health: () => Omit<Check, "name">;
  /** When the keys in use were fetched; undefined: there are none. */
  readonly fetchedAt_ms: () => number | undefined;
  /** The first fetch. Never throws: `health` says how it went, and retries follow. */
  readonly start: () => Promise<void>;
  readonly stop: () => void;
}

const fresh_ms = 10 * 60_000;
const usable_ms = 24 * 60 * 60_000;
const coolDown_ms = 30_000;
const firstRetry_ms = 1_000;
const longestRetry_ms = 60_000;

/**
 * The signature keys of a realm. Whatever tokens arrive, the realm gets one fetch at a time, and no more of them than: one
 * per ten minutes, one per cool-down for keys that are not known, and the retries. Good keys outlive an outage by a day.
 */
export function createJwks(realm: KeysSource, options: JwksOptions): Jwks {
  const { now = Date.now, fetch = globalThis.fetch, schedule = later, timeout_ms = 5_000, onEvent } = options;
  const stopped = new AbortController();
  let good: (Keys & { readonly fetchedAt_ms: number }) | undefined;
  let failing: { reason: JwksFailure; failures: number } | undefined;
  let pending: Promise<void> | undefined;
  let due_ms = -Infinity;
  let coolUntil_ms = -Infinity;
  let cancelTimer: (() => void) | undefined;

  async function find(kid: string): Promise<LocalJWKSet | "unknown_key" | "cooling_down" | "unavailable"> {
    const keys = usable();
    if (keys?.kids.has(kid) === true) {
      if (now() >= due_ms) void refresh();
      return keys.set;
    }
    if (pending !== undefined) {
      // It may have begun before the realm got this key: its answer does not count as the one fetch for an unknown key.
      await pending;
      return find(kid);
    }
    // While fetches fail, a key that is not known may well be good: that is our outage, and not the user's fault.
    if (stopped.signal.aborted || (now() < due_ms && (keys === undefined || failing !== undefined)))
      return "unavailable";
    if (keys !== undefined && failing === undefined) {
      if (now() < coolUntil_ms) return "cooling_down";
      coolUntil_ms = now() + coolDown_ms;
    }
    await refresh();
    const fetched = usable();
    if (fetched?.kids.has(kid) === true) return fetched.set;
    return fetched === undefined || failing !== undefined ? "unavailable" : "unknown_key";
  }

  function usable(): typeof good {
    return good !== undefined && now() < good.fetchedAt_ms + usable_ms ? good : undefined;
  }

  async function refresh(): Promise<void> {
    if (stopped.signal.aborted) return;
    pending ??= fetchKeys(realm, { fetch, timeout_ms, signal: stopped.signal }).then(settle);
    await pending;
  }

  function settle(loaded: Keys | JwksFailure): void {
    pending = undefined;
    if (typeof loaded === "string") {
      failing = { reason: loaded, failures: (failing?.failures ?? 0) + 1 };
    } else {
      good = { ...loaded, fetchedAt_ms: now() };
      failing = undefined;
    }
    if (stopped.signal.aborted) return;
    const retry_ms = failing === undefined ? 0 : Math.min(longestRetry_ms, firstRetry_ms * 2 ** (failing.failures - 1));
    const delay_ms = failing === undefined ? fresh_ms : retry_ms;
    due_ms = now() + delay_ms;
    cancelTimer?.();
    cancelTimer = schedule(() => void refresh(), delay_ms);
    if (failing !== undefined) onEvent?.({ kind: "jwks_failed", ...failing, retry_ms });
    else onEvent?.({ kind: "jwks_fetched", keys: good?.kids.size ?? 0 });
  }

  function health(): Omit<Check, "name"> {
    const failure = failing === undefined ? {} : { reason: jwksFailures[failing.reason] };
    if (usable() === undefined)
      return { status: "unavailable", reason: "the realm's keys were not fetched yet", ...failure };
    return { status: failing === undefined ? "ok" : "degraded", ...failure };
  }

  function stop(): void {
    stopped.abort();
    cancelTimer?.();
  }

  return { find, health, fetchedAt_ms: () => usable()?.fetchedAt_ms, start: refresh, stop };
}

function later(run: () => void, delay_ms: number): () => void {
  const timer = setTimeout(run, delay_ms);
  timer.unref();
  return () => clearTimeout(timer);
}
