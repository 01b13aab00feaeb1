import type { Clock } from "../clock/clock.ts";
import type { Moment } from "../clock/realm-clocks.ts";
import type { LogoutToken } from "../model/grant.ts";
import type { Check } from "../model/check.ts";
import type { Events } from "../observe/events.ts";
import { realmsOf, type RealmSettings } from "../settings/realms.ts";
import type { Settings } from "../settings/schema.ts";
import { takeApart, TokenRefused, type Sort, type Unverified } from "./jwt.ts";
import { createKeycloak, type AccessToken } from "./keycloak.ts";

/** The Keycloak realms whose users may come. */
export interface Realms {
  /** Throws `TokenRefused`, or the problem `unavailable` when the realm's keys cannot be had. */
  verify(token: string): Promise<AccessToken>;
  /**
   * Judges by the time at which it came, by any clock that may be right: Keycloak sends a logout once, and a step of our clock
   * must not lose it. Throws the same.
   */
  verifyLogout(token: string, at: Moment): Promise<LogoutToken>;
  /** One check for each realm. A realm without keys keeps its own users out, and nobody else. */
  health(): readonly Check[];
  /** How old the keys of each realm are; undefined: there are none. */
  ages(): readonly { readonly name: string; readonly age_seconds: number | undefined }[];
  start(): void;
  stop(): void;
}

/**
 * Several realms, each with keys and rules of its own. A token is judged by the realm of its `iss` and by no other: there is
 * no common set of keys in which one realm's key could vouch for another realm's user. Undefined: no realm is configured.
 */
export function createRealms(
  settings: RealmSettings & Pick<Settings, "clock_tolerance_seconds">,
  {
    events,
    clock,
  }: { events: Pick<Events["access"], "keysFetched">; clock: Pick<Clock, "now" | "uptime_ms" | "realms"> },
): Realms | undefined {
  const { now, uptime_ms } = clock;
  const realms = realmsOf(settings).map((realm) => {
    const { name, issuer } = realm;
    const { clock_tolerance_seconds } = settings;
    const keycloak = createKeycloak(
      { ...realm, clock_tolerance_seconds },
      {
        now,
        uptime_ms,
        onEvent: (event) => events.keysFetched(name, event),
        onSigned: (...told) => clock.realms.saw(issuer, ...told),
      },
    );
    return { name, issuer, keycloak };
  });
  const byIssuer = new Map(realms.map((realm) => [realm.issuer, realm]));
  const [only, ...others] = realms;
  if (only === undefined) return undefined;
  const unknown = `The token's \`iss\` is none of ${[...byIssuer.keys()].join(", ")}, letter for letter.`;

  /** Its `iss` is nothing but a hint whose keys could have signed a token. */
  function realmOf({ payload }: Unverified): (typeof realms)[number] | undefined {
    // With one realm, or without an `iss`, its own checks say best what is wrong.
    if (others.length === 0 || payload.iss === undefined) return only;
    return byIssuer.get(payload.iss);
  }

  function open(text: string, name: Sort["name"]): { token: Unverified; realm: (typeof realms)[number] } {
    const token = takeApart(text, name);
    const realm = realmOf(token);
    if (realm === undefined) throw new TokenRefused("forged", unknown);
    return { token, realm };
  }

  return {
    async verify(text) {
      const { token, realm } = open(text, "access token");
      return realm.keycloak.verify(token);
    },
    async verifyLogout(text, at) {
      const { token, realm } = open(text, "logout token");
      const least_ms = clock.realms.atLeast_ms(realm.issuer, at);
      const times_ms = [at.wall_ms, at.believed_ms, ...(least_ms === undefined ? [] : [least_ms])];
      return realm.keycloak.verifyLogout(token, times_ms);
    },
    health() {
      const all = realms.map(({ name, keycloak }) => ({ name, ...keycloak.jwks.health() }));
      const isUseless = all.every(({ status }) => status === "unavailable");
      return all.map(({ name, status, reason }) => ({
        name,
        status: status === "unavailable" && !isUseless ? "degraded" : status,
        reason,
      }));
    },
    ages: () =>
      realms.map(({ name, keycloak }) => {
        const age_ms = keycloak.jwks.age_ms();
        return { name, age_seconds: age_ms === undefined ? undefined : age_ms / 1000 };
      }),
    start() {
      // Never throws: `health` says how it went, and retries follow.
      for (const { keycloak } of realms) void keycloak.jwks.start();
    },
    stop() {
      for (const { keycloak } of realms) keycloak.jwks.stop();
    },
  };
}
