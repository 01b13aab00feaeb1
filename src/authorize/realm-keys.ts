import { createPublicKey } from "node:crypto";
import { createLocalJWKSet, type LocalJWKSet } from "jose";
import * as v from "valibot";

/** The signature keys that a realm publishes. */
export interface Keys {
  /** By key id, the keys that can verify. Mostly one, but nothing forbids several of one id (RFC 7517 section 4.5). */
  readonly byKid: ReadonlyMap<string, readonly LocalJWKSet[]>;
  /** Ids of keys that are published and cannot verify anything: too short, or not on their curve. */
  readonly unusable: ReadonlySet<string>;
  /** Some key is for an accepted algorithm. */
  readonly isAccepted: boolean;
}

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
type Key = v.InferOutput<typeof Key>;

/** A token that names an id is tried with so many keys: more would make strangers' tokens expensive. */
const mostOfOneId = 4;
/** RFC 7518 section 3.3. */
const shortestModulus = 2048;

/** RFC 7517 section 5: a key that is not understood is left out, the others are good. */
export function sortKeys(published: readonly unknown[], algorithms: readonly string[]): Keys {
  const keys = published.map((key) => v.safeParse(Key, key)).flatMap((key) => (key.success ? [key.output] : []));
  const byKid = new Map<string, LocalJWKSet[]>();
  const usable = keys.filter((key, index) => canVerify(key) && !isRepeated(key, keys.slice(0, index)));
  for (const key of usable) {
    const others = byKid.get(key.kid) ?? [];
    if (others.length < mostOfOneId) byKid.set(key.kid, [...others, createLocalJWKSet({ keys: [key] })]);
  }
  const unusable = new Set(keys.map(({ kid }) => kid).filter((kid) => !byKid.has(kid)));
  const isAccepted = usable.some((key) => algorithms.some((algorithm) => isFor(algorithm, key)));
  return { byKid, unusable, isAccepted };
}

function canVerify(key: Key): boolean {
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: { ...key }, format: "jwk" });
    return key.kty !== "RSA" || (asymmetricKeyDetails?.modulusLength ?? 0) >= shortestModulus;
  } catch {
    return false;
  }
}

function isRepeated(key: Key, before: readonly Key[]): boolean {
  return before.some((other) => Bun.deepEquals(other, key));
}

const curves: Readonly<Record<string, string>> = {
  ES256: "P-256",
  ES384: "P-384",
  ES512: "P-521",
  EdDSA: "Ed25519",
};

function isFor(algorithm: string, key: Key): boolean {
  if (key.alg !== undefined) return key.alg === algorithm;
  return key.kty === "RSA" ? /^[RP]S/.test(algorithm) : curves[algorithm] === key.crv;
}
