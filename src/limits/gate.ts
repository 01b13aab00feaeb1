import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { ApiKey, WsToken } from "../settings/credentials.ts";
import type { Settings } from "../settings/schema.ts";
import type { Client } from "./address.ts";
import { createRateLimit, type RateLimit } from "./rate.ts";

/** What was met, by the name of its setting; `rate_per_second` is that of one API key or WS token. */
export type LimitName =
  | "auth_failures_per_minute"
  | "authorize_rate_per_second"
  | "handshake_rate_per_second"
  | "notify_rate_per_second"
  | "rate_per_second";

/** An API key or a WS token, which may have a rate of its own. */
type Holder = Pick<ApiKey | WsToken, "name" | "rate_per_second" | "burst">;

type Limited = Pick<Client, "key">;

/** Who has to wait. Every check here throws `rate_limited`, or returns. */
export interface Gate {
  /**
   * Counts a credential that was judged and is bad. Returns the problem `rate_limited` if its address has brought too many
   * of them. Valid credentials are never refused for it: many people share an address, and any of them, or any web page that
   * one of them visits, could lock out the others.
   */
  failed(client: Limited): Problem | undefined;
  /** A signature is about to be verified, the only check of a credential that costs something. */
  signature(client: Limited): void;
  /** A call of `/authorize` with a valid credential. */
  authorize(client: Limited): void;
  /** A new connection. Throws `draining` once the gate is closed. */
  handshake(client: Limited): void;
  logout(client: Limited): void;
  notify(apiKey: Holder): void;
  frontService(wsToken: Holder): void;
  /** The service is about to stop: no new connection gets in any more. */
  close(): void;
  readonly isClosed: boolean;
}

/** The rates that the gate keeps, each setting by its own name. */
export type RateSettings = Pick<
  Settings,
  | "auth_failures_per_minute"
  | "authorize_rate_per_second"
  | "authorize_burst"
  | "handshake_rate_per_second"
  | "handshake_burst"
  | "notify_rate_per_second"
  | "notify_burst"
>;

/** Each is about 200 bytes. */
const mostAddresses = 100_000;
const mostNames = 10_000;

export function createGate(
  settings: RateSettings,
  { events, now }: { events: Pick<Events["requests"], "limited">; now: () => number },
): Gate {
  const { authorize_rate_per_second, authorize_burst, handshake_rate_per_second, handshake_burst } = settings;
  const limit = (rate_per_second: number, burst: number, mostKeys: number) =>
    createRateLimit({ rate_per_second, burst, mostKeys, now });
  const perMinute = settings.auth_failures_per_minute;
  const failures = limit(perMinute / 60, perMinute, mostAddresses);
  const authorizations = limit(authorize_rate_per_second, authorize_burst, mostAddresses);
  // Apart from the calls that are valid: forged tokens must not use up the rate of those that need no signature.
  const signatures = limit(authorize_rate_per_second, authorize_burst, mostAddresses);
  const handshakes = limit(handshake_rate_per_second, handshake_burst, mostAddresses);
  // Not that of /authorize, although it is as large: pages behind Keycloak's own proxy must not use it up.
  const logouts = limit(authorize_rate_per_second, authorize_burst, mostAddresses);
  const notifications = limit(settings.notify_rate_per_second, settings.notify_burst, mostNames);
  let isClosed = false;
  /** Of keys and tokens with rates of their own, by these rates: what is configured anew by a reload begins anew. */
  const own = new Map<string, RateLimit>();

  function makeWait(wait_seconds: number, name: LimitName, what: string): void {
    if (wait_seconds > 0) throw refusal(wait_seconds, name, `Too many ${what}: try again`);
  }

  function refusal(wait_seconds: number, name: LimitName, advice: string): Problem {
    events.limited(name);
    const detail = `${advice} in ${wait_seconds} s (${name}).`;
    return new Problem("rate_limited", { detail, headers: { "Retry-After": String(wait_seconds) } });
  }

  function takeOwn(kind: string, { name, rate_per_second, burst = 1 }: Holder): number | undefined {
    if (rate_per_second === undefined) return undefined;
    const rate = `${rate_per_second} ${burst}`;
    const ownLimit = own.get(rate) ?? limit(rate_per_second, burst, mostNames);
    own.set(rate, ownLimit);
    return ownLimit.take(`${kind} ${name}`);
  }

  return {
    failed({ key }) {
      const wait_seconds = key === undefined ? 0 : failures.take(key);
      if (wait_seconds === 0) return undefined;
      const advice = "Bad key or token, after too many others from this address: send a valid one, or try again";
      return refusal(wait_seconds, "auth_failures_per_minute", advice);
    },
    signature({ key }) {
      if (key !== undefined) makeWait(signatures.take(key), "authorize_rate_per_second", "tokens from this address");
    },
    authorize({ key }) {
      if (key !== undefined) makeWait(authorizations.take(key), "authorize_rate_per_second", "calls from this address");
    },
    logout({ key }) {
      if (key !== undefined) makeWait(logouts.take(key), "authorize_rate_per_second", "logouts from this address");
    },
    handshake({ key }) {
      if (isClosed) throw new Problem("draining");
      if (key !== undefined)
        makeWait(handshakes.take(key), "handshake_rate_per_second", "connections from this address");
    },
    notify(apiKey) {
      const wait = takeOwn("api_key", apiKey);
      if (wait === undefined)
        makeWait(notifications.take(apiKey.name), "notify_rate_per_second", "notifications by this key");
      else makeWait(wait, "rate_per_second", "notifications by this key");
    },
    frontService(wsToken) {
      makeWait(takeOwn("ws_token", wsToken) ?? 0, "rate_per_second", "calls with this token");
    },
    close: () => void (isClosed = true),
    get isClosed() {
      return isClosed;
    },
  };
}
