import { Problem } from "../model/problem.ts";
import type { Client } from "./address.ts";
import { createRateLimit, type RateLimit } from "./rate.ts";

/** What was met, by the name of its setting; `rate_per_second` is that of one API key or WS token. */
export type LimitName =
  | "auth_failures_per_minute"
  | "authorize_rate_per_second"
  | "handshake_rate_per_second"
  | "notify_rate_per_second"
  | "rate_per_second";

export interface Rate {
  readonly rate_per_second: number;
  readonly burst: number;
}

/** An API key or a WS token, which may have a rate of its own. */
export interface Holder {
  readonly name: string;
  readonly rate_per_second?: number;
  readonly burst?: number;
}

type Limited = Pick<Client, "key">;

/** Who has to wait. Everything here throws `rate_limited`, or returns. */
export interface Gate {
  /** Before a credential is judged: not from an address that has brought too many bad ones, be this one as good as it may. */
  attempt(client: () => Limited): void;
  /** A credential was bad. */
  failed(client: Limited): void;
  authorize(client: Limited): void;
  handshake(client: Limited): void;
  logout(client: Limited): void;
  notify(apiKey: Holder): void;
  frontService(wsToken: Holder): void;
}

export interface GateNeeds {
  readonly authFailuresPerMinute: number;
  readonly authorize: Rate;
  readonly handshake: Rate;
  readonly notify: Rate;
  readonly now: () => number;
  readonly onLimited: (limit: LimitName) => void;
}

/** Each is about 200 bytes. */
const mostAddresses = 100_000;
const mostNames = 10_000;

export function createGate({ now, onLimited, ...needs }: GateNeeds): Gate {
  const perAddress = (rate: Rate) => createRateLimit({ ...rate, mostKeys: mostAddresses, now });
  const failures = perAddress({
    rate_per_second: needs.authFailuresPerMinute / 60,
    burst: needs.authFailuresPerMinute,
  });
  const authorizations = perAddress(needs.authorize);
  const handshakes = perAddress(needs.handshake);
  // Not that of /authorize, although it is as large: pages behind Keycloak's own proxy must not use it up.
  const logouts = perAddress(needs.authorize);
  const notifications = createRateLimit({ ...needs.notify, mostKeys: mostNames, now });
  /** Of keys and tokens with rates of their own, by these rates: what is configured anew by a reload begins anew. */
  const own = new Map<string, RateLimit>();

  function makeWait(wait_seconds: number, limit: LimitName, what: string): void {
    if (wait_seconds === 0) return;
    onLimited(limit);
    const detail = `Too many ${what}: try again in ${wait_seconds} s (${limit}).`;
    throw new Problem("rate_limited", { detail, headers: { "Retry-After": String(wait_seconds) } });
  }

  function takeOwn(kind: string, { name, rate_per_second, burst = 1 }: Holder): number | undefined {
    if (rate_per_second === undefined) return undefined;
    const rate = `${rate_per_second} ${burst}`;
    const limit = own.get(rate) ?? createRateLimit({ rate_per_second, burst, mostKeys: mostNames, now });
    own.set(rate, limit);
    return limit.take(`${kind} ${name}`);
  }

  return {
    attempt(client) {
      // The common case: nobody has failed, and who asks need not be known.
      if (failures.size === 0) return;
      const { key } = client();
      if (key !== undefined)
        makeWait(failures.peek(key), "auth_failures_per_minute", "bad keys and tokens from this address");
    },
    failed({ key }) {
      if (key !== undefined) failures.take(key);
    },
    authorize({ key }) {
      if (key !== undefined) makeWait(authorizations.take(key), "authorize_rate_per_second", "calls from this address");
    },
    logout({ key }) {
      if (key !== undefined) makeWait(logouts.take(key), "authorize_rate_per_second", "logouts from this address");
    },
    handshake({ key }) {
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
  };
}
