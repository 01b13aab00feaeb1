import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { codeOf, currentUser } from "../journal/cannot-open.ts";
import { safe } from "../settings/messages.ts";
import type { Settings } from "../settings/schema.ts";

export type TlsSettings = Pick<Settings, "tls_cert" | "tls_key">;

/** A certificate chain and the key of its first certificate, both read in one step. */
export interface TlsFiles {
  /** The setting and its path, for messages. */
  readonly name: string;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** The first is that of the service. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
}

/** `unusable`: why the service cannot listen with these files, a sentence each, with the remedy. */
export type TlsFound = TlsFiles | { readonly unusable: readonly string[] };

type Read<T> = T | { readonly failure: string };

const day_ms = 86_400_000;
/** From here on the end of a certificate is a warning: people who renew by hand need the time. */
const soon_ms = 14 * day_ms;

/** Undefined: the settings name none, and the service speaks plain HTTP. */
export function readTls({ tls_cert, tls_key }: TlsSettings): TlsFound | undefined {
  if (tls_cert === undefined || tls_key === undefined) return undefined;
  const names = { cert: `tls_cert (${safe(tls_cert, 200)})`, key: `tls_key (${safe(tls_key, 200)})` };
  const cert = readChain(tls_cert);
  const key = readKey(tls_key);
  if ("failure" in cert || "failure" in key) {
    return {
      unusable: [
        ...("failure" in cert ? [`${names.cert} ${cert.failure}`] : []),
        ...("failure" in key ? [`${names.key} ${key.failure}`] : []),
      ],
    };
  }
  if (cert.chain[0].checkPrivateKey(key.key)) {
    return { name: names.cert, cert: cert.text, key: key.text, chain: cert.chain };
  }
  return {
    unusable: [
      `${names.key} does not belong to the first certificate in ${names.cert}: name its own key, and put the certificate of the server before those of its authority`,
    ],
  };
}

/** Why clients refuse the certificates at that time, a sentence each, with the remedy. */
export function outOfDate({ name, chain }: Pick<TlsFiles, "name" | "chain">, now_ms: number): string[] {
  return chain.flatMap(({ subject, validFromDate, validToDate }) => {
    const which = named(name, subject);
    if (now_ms > validToDate.getTime()) return [`${which} has expired on ${validToDate.toISOString()}: renew it`];
    if (now_ms >= validFromDate.getTime()) return [];
    return [
      `${which} is not valid before ${validFromDate.toISOString()}: wait for it, or set the clock of this machine`,
    ];
  });
}

/** The certificates that end within two weeks, a sentence each, with the remedy. */
export function endingSoon({ name, chain }: Pick<TlsFiles, "name" | "chain">, now_ms: number): string[] {
  return chain
    .filter(({ validToDate }) => validToDate.getTime() >= now_ms && validToDate.getTime() < now_ms + soon_ms)
    .map(({ subject, validToDate }) => `${named(name, subject)} expires on ${validToDate.toISOString()}: renew it`);
}

/** Until the first certificate of the chain expires; negative: since then. */
export function daysLeft({ chain }: Pick<TlsFiles, "chain">, now_ms: number): number {
  return (Math.min(...chain.map(({ validToDate }) => validToDate.getTime())) - now_ms) / day_ms;
}

function named(name: string, subject: string): string {
  return `${name}: the certificate of ${safe(subject.replaceAll("\n", ", "))}`;
}

function readChain(path: string): Read<Pick<TlsFiles, "chain"> & { readonly text: string }> {
  const file = read(path);
  if ("failure" in file) return file;
  const blocks = file.text.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
  try {
    const [first, ...others] = blocks.map((block) => new X509Certificate(block));
    if (first !== undefined) return { text: file.text, chain: [first, ...others] };
  } catch {
    // Damaged: no certificate, either.
  }
  return { failure: "is not a certificate chain: name a PEM file with BEGIN CERTIFICATE" };
}

function readKey(path: string): Read<{ readonly text: string; readonly key: KeyObject }> {
  const file = read(path);
  if ("failure" in file) return file;
  try {
    return { text: file.text, key: createPrivateKey(file.text) };
  } catch (error) {
    const isEncrypted = codeOf(error) === "ERR_MISSING_PASSPHRASE";
    return {
      failure: isEncrypted
        ? "has a passphrase, which nobody could enter: take it off (openssl pkey -in OLD -out NEW)"
        : "is not a private key: name a PEM file with BEGIN PRIVATE KEY",
    };
  }
}

/** The content of a file, or why there is none, in words that follow its name. */
function read(path: string): Read<{ readonly text: string }> {
  try {
    return { text: readFileSync(path, "utf8") };
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") return { failure: "does not exist: name another path, or put the file there" };
    if (code === "EACCES")
      return { failure: `cannot be read by ${currentUser()}: give this user the right to read it` };
    if (code === "EISDIR") return { failure: "is a folder: name the file in it" };
    return { failure: `cannot be read (${code})` };
  }
}
