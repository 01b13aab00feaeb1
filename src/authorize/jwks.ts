import { createLocalJWKSet, type LocalJWKSet } from "jose";
import * as v from "valibot";
import { readAtMost } from "../limits/read.ts";
import type { Check } from "../model/check.ts";
import type { JwksEvent } from "../observe/access-events.ts";

/** Why a fetch of a realm's keys failed: for logs, metric labels and `health()`. */
export const jwksFailures = {
  unreachable: "the realm cannot be reached",
  timeout: "the realm does not answer in time",
  redirected: "the realm's answer is a redirect, which is not followed",
  bad_status: "the realm answers with an error",
  too_large: "the realm's answer is too large",
  malformed: "the realm's answer is not a discovery document or key set",
  wrong_issuer: "the discovery document is of another issuer than the configured one",
  unsafe_url: "the discovery document leads from https to a key set that is not on https",
  no_keys: "the realm's key set has no key that verifies signatures",
} as const;
export type JwksFailure = keyof typeof jwksFailures;

export interface JwksOptions {
  readonly now?: () => number;
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
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
const longestAnswer_bytes = 512 * 1024;

const Text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096));
const signing = {
  kid: v.pipe(Text, v.maxLength(256)),
  use: v.exactOptional(v.literal("sig")),
  alg: v.exactOptional(Text),
  key_ops: v.exactOptional(v.pipe(v.array(Text), v.includes("verify"))),
};
/** Public members only: `oct` keys, keys for encryption and private halves do not get past this. */
const Key = v.variant("kty", [
  v.object({ ...signing, kty: v.literal("RSA"), n: Text, e: Text }),
  v.object({ ...signing, kty: v.literal("EC"), crv: Text, x: Text, y: Text }),
  v.object({ ...signing, kty: v.literal("OKP"), crv: Text, x: Text }),
]);
const KeySet = v.object({ keys: v.pipe(v.array(v.unknown()), v.maxLength(100)) });
const Discovery = v.object({ issuer: v.string(), jwks_uri: v.pipe(Text, v.url(), v.regex(/^https?:\/\//i)) });

interface Keys {
  readonly set: LocalJWKSet;
  readonly kids: ReadonlySet<string>;
  readonly fetchedAt_ms: number;
}

/**
 * The signature keys of a realm. Whatever tokens arrive, the realm gets one fetch at a time, and no more of them than: one
 * per ten minutes, one per cool-down for keys that are not known, and the retries. Good keys outlive an outage by a day.
 */
export function createJwks(realm: { issuer: string; jwks_url?: string | undefined }, options: JwksOptions): Jwks {
  const { now = Date.now, fetch = globalThis.fetch, schedule = later, timeout_ms = 5_000, onEvent } = options;
  const stopped = new AbortController();
  let good: Keys | undefined;
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

  function usable(): Keys | undefined {
    return good !== undefined && now() < good.fetchedAt_ms + usable_ms ? good : undefined;
  }

  async function refresh(): Promise<void> {
    if (stopped.signal.aborted) return;
    pending ??= load().then(settle);
    await pending;
  }

  function settle(loaded: Keys | JwksFailure): void {
    pending = undefined;
    if (typeof loaded === "string") {
      failing = { reason: loaded, failures: (failing?.failures ?? 0) + 1 };
    } else {
      good = loaded;
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

  async function load(): Promise<Keys | JwksFailure> {
    const url = realm.jwks_url ?? (await discover());
    if (typeof url !== "string") return url.failure;
    const answer = await download(url);
    if ("failure" in answer) return answer.failure;
    const parsed = v.safeParse(KeySet, answer.json);
    if (!parsed.success) return "malformed";
    // RFC 7517 section 5: a key that is not understood is left out, the others are good.
    const keys = parsed.output.keys
      .map((key) => v.safeParse(Key, key))
      .flatMap((key) => (key.success ? [key.output] : []));
    if (keys.length === 0) return "no_keys";
    return { set: createLocalJWKSet({ keys }), kids: new Set(keys.map((key) => key.kid)), fetchedAt_ms: now() };
  }

  async function discover(): Promise<string | { failure: JwksFailure }> {
    const answer = await download(`${realm.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
    if ("failure" in answer) return answer;
    const discovery = v.safeParse(Discovery, answer.json);
    if (!discovery.success) return { failure: "malformed" };
    const { issuer, jwks_uri } = discovery.output;
    // OpenID Connect Discovery 4.3: or else one realm could speak for another.
    if (issuer !== realm.issuer) return { failure: "wrong_issuer" };
    // Whoever is on the way to an http address would choose the keys that we trust.
    if (/^https:/i.test(issuer) && !/^https:/i.test(jwks_uri)) return { failure: "unsafe_url" };
    return jwks_uri;
  }

  async function download(url: string): Promise<{ json: unknown } | { failure: JwksFailure }> {
    try {
      const signal = AbortSignal.any([AbortSignal.timeout(timeout_ms), stopped.signal]);
      const response = await fetch(url, { redirect: "error", signal, headers: { Accept: "application/json" } });
      if (!response.ok) {
        await response.body?.cancel();
        return { failure: "bad_status" };
      }
      // Counted after decompression, so that a small answer cannot unfold into a large one.
      const body = await readAtMost(response.body, longestAnswer_bytes);
      return body === undefined ? { failure: "too_large" } : parseJson(body.toString());
    } catch (error) {
      const { name, code } = v.parse(Thrown, error);
      if (name === "TimeoutError") return { failure: "timeout" };
      return { failure: code === "UnexpectedRedirect" ? "redirected" : "unreachable" };
    }
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

const Thrown = v.fallback(v.object({ name: v.optional(v.unknown()), code: v.optional(v.unknown()) }), {});

function parseJson(text: string): { json: unknown } | { failure: JwksFailure } {
  try {
    return { json: JSON.parse(text) };
  } catch {
    return { failure: "malformed" };
  }
}

function later(run: () => void, delay_ms: number): () => void {
  const timer = setTimeout(run, delay_ms);
  timer.unref();
  return () => clearTimeout(timer);
}
