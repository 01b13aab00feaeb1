import type { Certified } from "./certificates.ts";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from "jose";

/** How the realm answers a request for its keys. */
export type Behaviour =
  | "well"
  | "error"
  | "silent"
  | "stalled"
  | "redirecting"
  | "not_json"
  | "no_key_set"
  | "no_keys"
  | "too_many_keys"
  | "huge"
  | "other_issuer"
  | "data_url";

export interface RealmKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

export interface Minting {
  readonly header?: Record<string, unknown>;
  readonly key?: RealmKey;
}

/** A Keycloak realm as far as a service sees it: discovery, keys, and the tokens that its users hold. */
export async function startRealm(options: { alg?: string; now: () => number; tls?: Certified; host?: string }) {
  const { alg = "ES256", now, tls, host = "127.0.0.1" } = options;
  const path = "/realms/amper";
  const stopped = Promise.withResolvers<Response>();
  const requests = { discovery: 0, keys: 0 };
  let behaviour: Behaviour = "well";
  let key = await createKey(alg);
  let published: unknown[] = [key.jwk];

  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    ...(tls && { tls: { cert: Bun.file(tls.cert), key: Bun.file(tls.key) } }),
    fetch(request): Response | Promise<Response> {
      const { pathname } = new URL(request.url);
      if (pathname === `${path}/.well-known/openid-configuration`) {
        requests.discovery += 1;
        return Response.json({
          issuer: behaviour === "other_issuer" ? `${issuer}/` : issuer,
          jwks_uri:
            behaviour === "data_url" ? `data:application/json,${JSON.stringify({ keys: published })}` : jwks_url,
        });
      }
      if (pathname === "/elsewhere") return Response.json({ keys: published });
      requests.keys += 1;
      return answerKeys();
    },
  });
  const issuer: string = `${server.url.protocol}//${host}:${server.port}${path}`;
  const jwks_url = `${issuer}/protocol/openid-connect/certs`;

  function answerKeys(): Response | Promise<Response> {
    switch (behaviour) {
      case "error":
        return Response.json({ keys: published }, { status: 502 });
      case "silent":
        return stopped.promise;
      case "stalled":
        return new Response(new ReadableStream({ start: (body) => body.enqueue(new TextEncoder().encode("{")) }));
      case "redirecting":
        return Response.redirect("/elsewhere", 302);
      case "not_json":
        return new Response("<html>");
      case "no_key_set":
        return Response.json({ keys: "none" });
      case "no_keys":
        return Response.json({ keys: [] });
      case "too_many_keys":
        return Response.json({ keys: Array.from({ length: 101 }, () => key.jwk) });
      case "huge":
        return Response.json({ keys: published, padding: "x".repeat(512 * 1024) });
      case "well":
      case "other_issuer":
      case "data_url":
        break;
    }
    return Response.json({ keys: published });
  }

  return {
    issuer,
    jwks_url,
    requests,
    get key() {
      return key;
    },
    behave(how: Behaviour) {
      behaviour = how;
    },
    /** From now on the realm signs with a new key, and publishes no other. */
    async rotate() {
      key = await createKey(alg);
      published = [key.jwk];
    },
    publish(keys: readonly unknown[]) {
      published = [...keys];
    },
    /** An access token as Keycloak makes it. A claim that is given as undefined is left out. */
    mint(claims: Record<string, unknown> = {}, { header = {}, key: signing = key }: Minting = {}): Promise<string> {
      return new SignJWT({ ...claimsOf(issuer, now()), ...claims })
        .setProtectedHeader({ alg: signing.alg, typ: "JWT", kid: signing.kid, ...header })
        .sign(signing.privateKey, { crit: { "urn:example:extension": true } });
    },
    /** A logout token as Keycloak makes it, of the session of the access tokens. */
    mintLogout(claims: Record<string, unknown> = {}, minting: Minting = {}): Promise<string> {
      const iat = Math.floor(now() / 1000);
      const kept = Object.fromEntries(Object.keys(claimsOf(issuer, now())).map((name) => [name, undefined]));
      const logout = {
        exp: iat + 120,
        iat,
        jti: crypto.randomUUID(),
        iss: issuer,
        aud: "msf-web",
        sub: user,
        typ: "Logout",
        sid: "0f8a4a5c-session",
        events: { "http://schemas.openid.net/event/backchannel-logout": {} },
      };
      const header = { typ: "logout+jwt", ...minting.header };
      return this.mint({ ...kept, ...logout, ...claims }, { ...minting, header });
    },
    async stop() {
      stopped.resolve(new Response(null, { status: 503 }));
      await server.stop(true);
    },
  };
}
export type Realm = Awaited<ReturnType<typeof startRealm>>;

export const user = "26259ede-5be8-4a5c-9c1d-2f1c0a9d7f10";

export function claimsOf(issuer: string, now_ms: number): Record<string, unknown> {
  const iat = Math.floor(now_ms / 1000);
  return {
    exp: iat + 300,
    iat,
    jti: "onrtac:0d1f",
    iss: issuer,
    aud: ["amper-channels", "account"],
    sub: user,
    typ: "Bearer",
    azp: "msf-web",
    sid: "0f8a4a5c-session",
    realm_access: { roles: ["offline_access", "dispatcher"] },
    resource_access: { "msf-web": { roles: ["viewer"] }, account: { roles: ["view-profile"] }, bare: {} },
    scope: "openid",
  };
}

export async function createKey(alg: string, kid: string = crypto.randomUUID()): Promise<RealmKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
}

/** A clock that stands still until it is moved, and the timers that hang on it. */
export function createClock(start_ms = Date.UTC(2026, 0, 1)) {
  let now_ms = start_ms;
  const timers = new Set<{ at_ms: number; run: () => void }>();
  return {
    now: () => now_ms,
    timers,
    schedule(run: () => void, delay_ms: number): () => void {
      const timer = { at_ms: now_ms + delay_ms, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    /** Moves the time only: for what has to happen because a token arrives, and not because a timer fires. */
    move(by_ms: number) {
      now_ms += by_ms;
    },
    /** Moves the time, and fires what is due by then. */
    advance(by_ms: number) {
      now_ms += by_ms;
      for (const timer of [...timers].filter(({ at_ms }) => at_ms <= now_ms)) {
        timers.delete(timer);
        timer.run();
      }
    },
  };
}
