import * as v from "valibot";
import { readAtMost } from "../limits/read.ts";
import { sortKeys, type Keys } from "./realm-keys.ts";

/** Why a fetch of a realm's keys failed: for logs, metric labels and `health()`. */
export const jwksFailures = {
  unreachable: "the realm cannot be reached",
  untrusted_certificate:
    "the realm's certificate is not trusted: name the PEM file of its authority in NODE_EXTRA_CA_CERTS, and restart",
  expired_certificate: "the realm's certificate has expired: renew it",
  early_certificate: "the realm's certificate is not valid yet: compare the clocks",
  misnamed_certificate: "the realm's certificate is for another host name: write the name that it is for",
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

/** Where a realm's keys are, and what for. */
export interface KeysSource {
  readonly issuer: string;
  readonly algorithms: readonly string[];
  /** Undefined: from the issuer's discovery document. */
  readonly jwks_url?: string | undefined;
}

export interface FetchOptions {
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  readonly timeout_ms: number;
  readonly signal: AbortSignal;
}

const longestAnswer_bytes = 512 * 1024;

const Text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096));
const KeySet = v.object({ keys: v.pipe(v.array(v.unknown()), v.maxLength(100)) });
const Discovery = v.object({ issuer: v.string(), jwks_uri: v.pipe(Text, v.url(), v.regex(/^https?:\/\//i)) });

/** Fetches the keys of a realm: from where discovery says they are, unless that is configured. Never throws. */
export async function fetchKeys(realm: KeysSource, options: FetchOptions): Promise<Keys | JwksFailure> {
  const url = realm.jwks_url ?? (await discover(realm, options));
  if (typeof url !== "string") return url.failure;
  const answer = await download(url, options);
  if ("failure" in answer) return answer.failure;
  const parsed = v.safeParse(KeySet, answer.json);
  if (!parsed.success) return "malformed";
  const keys = sortKeys(parsed.output.keys, realm.algorithms);
  return keys.byKid.size === 0 ? "no_keys" : keys;
}

async function discover(realm: KeysSource, options: FetchOptions): Promise<string | { failure: JwksFailure }> {
  const answer = await download(`${realm.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, options);
  if ("failure" in answer) return answer;
  const discovery = v.safeParse(Discovery, answer.json);
  if (!discovery.success) return { failure: "malformed" };
  const { issuer, jwks_uri } = discovery.output;
  // OpenID Connect Discovery 4.3: or else one realm could speak for another.
  if (issuer !== realm.issuer) return { failure: "wrong_issuer" };
  // An attacker on the way to an http address would choose the keys that we trust.
  if (/^https:/i.test(issuer) && !/^https:/i.test(jwks_uri)) return { failure: "unsafe_url" };
  return jwks_uri;
}

async function download(
  url: string,
  { fetch, timeout_ms, signal: stopped }: FetchOptions,
): Promise<{ json: unknown } | { failure: JwksFailure }> {
  try {
    const signal = AbortSignal.any([AbortSignal.timeout(timeout_ms), stopped]);
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
    return { failure: failureOf(typeof code === "string" ? code : "") };
  }
}

/** From what Bun's fetch throws: codes of its own, and those of OpenSSL for certificates. */
function failureOf(code: string): JwksFailure {
  if (code === "UnexpectedRedirect") return "redirected";
  if (code === "CERT_HAS_EXPIRED") return "expired_certificate";
  if (code === "CERT_NOT_YET_VALID") return "early_certificate";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "misnamed_certificate";
  return /CERT|ISSUER|SIGNATURE/.test(code) ? "untrusted_certificate" : "unreachable";
}

const Thrown = v.fallback(v.object({ name: v.optional(v.unknown()), code: v.optional(v.unknown()) }), {});

function parseJson(text: string): { json: unknown } | { failure: JwksFailure } {
  try {
    return { json: JSON.parse(text) };
  } catch {
    return { failure: "malformed" };
  }
}
