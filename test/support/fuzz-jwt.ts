import {
  below,
  chance,
  mutateBytes,
  mutateMembers,
  mutateText,
  objectOf,
  wrapJson,
  type Members,
} from "./mutations.ts";
import { pick, type Random } from "./random.ts";

/** Tokens as nobody issues them: signed well with something odd in them, or changed after they were signed. */

export interface JwtParts {
  readonly header: Members;
  readonly payload: Members;
}

/** Signs with whatever key there is: HMAC or not, it is a function of the signed text. */
export type Sign = (signed: string) => string;

export const base64url = (text: string | Uint8Array): string => Buffer.from(text).toString("base64url");

export function jwtOf(header: string, payload: string, sign: Sign): string {
  const signed = `${base64url(header)}.${base64url(payload)}`;
  return `${signed}.${sign(signed)}`;
}

const oddHeaders: Members = [
  ["alg", '"none"'],
  ["alg", '"None"'],
  ["alg", '"HS256"'],
  ["alg", '"RS256"'],
  ["alg", '["ES256"]'],
  ["crit", '["exp"]'],
  ["crit", "[]"],
  ["crit", '["b64"],"b64":false'],
  ["b64", "false"],
  ["jku", '"http://127.0.0.1:1/keys"'],
  ["x5u", '"http://127.0.0.1:1/keys"'],
  ["jwk", '{"kty":"oct","k":"AAAA"}'],
  ["kid", '"../../../../etc/passwd"'],
  ["kid", '"\' or 1=1 --"'],
  ["typ", '"logout+jwt"'],
  ["typ", '"at+jwt"'],
  ["typ", '"dpop+jwt"'],
  ["cty", '"JWT"'],
  ["zip", '"DEF"'],
  ["enc", '"A128GCM"'],
];

/** A token whose header or payload nobody would write, but well signed: what comes after the signature has to bear it, too. */
export function oddSignedJwt(random: Random, { header, payload }: JwtParts, sign: Sign): string {
  const odd = chance(random, 0.5)
    ? [...header, pick(random, oddHeaders)]
    : mutateMembers(random, header, ["alg", "kid"]);
  const head = objectOf(chance(random, 0.4) ? odd : header);
  const body = objectOf(chance(random, 0.8) ? mutateMembers(random, payload, ["iss", "aud", "exp", "iat"]) : payload);
  const wrapped = chance(random, 0.1) ? wrapJson(random, body) : body;
  return jwtOf(chance(random, 0.05) ? wrapJson(random, head) : head, wrapped, sign);
}

/** A token that was tampered with after it was signed. */
export function mutateJwt(random: Random, token: string, other: string): string {
  const [header = "", payload = "", signature = ""] = token.split(".");
  const others = other.split(".");
  const swapped = others[below(random, others.length)] ?? "";
  const tampered = (part: string) => base64url(mutateText(random, Buffer.from(part, "base64url").toString()));
  return pick(random, [
    () => [mutateText(random, header), payload, signature],
    () => [header, mutateText(random, payload), signature],
    () => [header, payload, mutateText(random, signature)],
    () => [tampered(header), payload, signature],
    () => [header, tampered(payload), signature],
    () => [swapped, payload, signature],
    () => [header, swapped, signature],
    () => [header, payload, swapped],
    () => [header, payload],
    () => [header, payload, ""],
    () => [header, payload, signature, ""],
    () => [header, payload, signature, signature],
    () => ["", "", ""],
    () => [header, payload, signature.toUpperCase()],
    () => [header, payload, `${signature}=`],
    () => [header, payload, "A".repeat(1 + below(random, 40_000))],
    () => [header, base64url(`{"a":"${"x".repeat(below(random, 20_000))}"}`), signature],
    () => [base64url(objectOf([["alg", '"none"']])), payload, ""],
    () => [base64url(mutateBytes(random, Buffer.from(header, "base64url"))), payload, signature],
  ])().join(".");
}
