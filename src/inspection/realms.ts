import { fetchKeys, type JwksFailure } from "../authorize/jwks-fetch.ts";
import { codeOf } from "../journal/cannot-open.ts";
import { realmsOf, type Realm, type RealmSettings } from "../settings/realms.ts";
import { firstRealm } from "../settings/rules.ts";

const timeout_ms = 5_000;

/** The last question to Keycloak, and what became of it. */
interface Asked {
  readonly url: string;
  readonly status?: number;
  readonly code?: string | undefined;
}

/** Warnings about realms whose keys cannot be had. The service starts without them, and is not ready. */
export async function inspectRealms(settings: RealmSettings): Promise<string[]> {
  return (await Promise.all(realmsOf(settings).map(inspectRealm))).flat();
}

async function inspectRealm(realm: Realm): Promise<string[]> {
  let asked: Asked = { url: realm.issuer };
  async function fetch(url: string, init: RequestInit): Promise<Response> {
    asked = { url };
    try {
      const response = await globalThis.fetch(url, init);
      asked = { url, status: response.status };
      return response;
    } catch (error) {
      asked = { url, code: codeOf(error) };
      throw error;
    }
  }
  const keys = await fetchKeys(realm, { fetch, timeout_ms, signal: new AbortController().signal });
  const name = `keycloak.${realm.name === firstRealm ? "" : `realms.${realm.name}.`}`;
  if (typeof keys === "string") {
    const setting = realm.jwks_url === undefined ? "issuer" : "jwks_url";
    return [`${name}${setting}: ${reasons[keys](asked)}`];
  }
  if (keys.isAccepted) return [];
  const { algorithms } = realm;
  return [`${name}algorithms: ${asked.url} has no key for ${algorithms.join(", ")}: add the algorithm of the realm`];
}

const reasons: Readonly<Record<JwksFailure, (asked: Asked) => string>> = {
  timeout: ({ url }) =>
    `no answer from ${url} within ${timeout_ms / 1000} s: check the network and the firewalls in between`,
  bad_status: ({ url, status }) =>
    status === 404
      ? `404 from ${url}: check the name of the realm, and whether this Keycloak has /auth before /realms`
      : `status ${status} from ${url}: see the log of Keycloak`,
  redirected: ({ url }) => `${url} redirects to another address: write that address`,
  malformed: ({ url }) => `no document of Keycloak at ${url}: check the address, and what answers there`,
  too_large: ({ url }) =>
    `no document of Keycloak at ${url}, but a larger one: check the address, and what answers there`,
  wrong_issuer: ({ url }) => `${url} names another issuer: write it exactly as \`issuer\` there`,
  unsafe_url: ({ url }) => `${url} names an http address for its keys: give Keycloak its https address (hostname)`,
  no_keys: ({ url }) => `no usable key at ${url}: add a key for signatures to the realm`,
  untrusted_certificate: ({ url, code }) =>
    `the certificate of ${hostOf(url)} is not trusted: name the PEM file of its authority in NODE_EXTRA_CA_CERTS (${code})`,
  expired_certificate: ({ url, code }) => `the certificate of ${hostOf(url)} has expired: renew it (${code})`,
  early_certificate: ({ url, code }) =>
    `the certificate of ${hostOf(url)} is not valid yet: compare the clocks (${code})`,
  misnamed_certificate: ({ url, code }) =>
    `the certificate of ${hostOf(url)} is for another name: write the name that it is for (${code})`,
  unreachable: ({ url, code = "" }) => whyUnreachable(new URL(url), code),
};

function hostOf(url: string): string {
  return new URL(url).host;
}

function whyUnreachable({ hostname, host }: URL, code: string): string {
  if (code === "ENOTFOUND" || code.startsWith("EAI_")) {
    return `no address of ${hostname}: check the name, and the DNS of this machine (${code})`;
  }
  if (code === "ECONNREFUSED")
    return `no service listens at ${host}: check the port, and whether Keycloak runs (${code})`;
  if (code === "EPROTO") return `no TLS at ${host}: write the port of https (${code})`;
  return `${host} cannot be reached: check the network and the firewalls in between (${code})`;
}
