import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { codeOf } from "../journal/cannot-open.ts";
import { safe } from "../settings/messages.ts";
import type { Settings } from "../settings/schema.ts";
import { read } from "./files.ts";

/** A sentence each, with the remedy. */
export interface TlsFound {
  /** The service cannot listen with these files. */
  readonly unusable: readonly string[];
  /** It can, and clients refuse the certificate today. */
  readonly outOfDate: readonly string[];
}

export function inspectTls({ tls_cert, tls_key }: Pick<Settings, "tls_cert" | "tls_key">, now_ms: number): TlsFound {
  if (tls_cert === undefined || tls_key === undefined) return { unusable: [], outOfDate: [] };
  const names = { cert: `tls_cert (${safe(tls_cert, 200)})`, key: `tls_key (${safe(tls_key, 200)})` };
  const chain = readChain(tls_cert);
  const key = readKey(tls_key);
  const unusable = [
    ...("failure" in chain ? [`${names.cert} ${chain.failure}`] : []),
    ...("failure" in key ? [`${names.key} ${key.failure}`] : []),
  ];
  if ("failure" in chain) return { unusable, outOfDate: [] };
  const [first] = chain.certificates;
  if ("key" in key && first?.checkPrivateKey(key.key) === false) {
    unusable.push(
      `${names.key} does not belong to the first certificate in ${names.cert}: name its own key, and put the certificate of the server before those of its authority`,
    );
  }
  return { unusable, outOfDate: chain.certificates.flatMap((certificate) => age(certificate, names.cert, now_ms)) };
}

function age({ subject, validFromDate, validToDate }: X509Certificate, name: string, now_ms: number): string[] {
  const which = `${name}: the certificate of ${safe(subject.replaceAll("\n", ", "))}`;
  if (now_ms > validToDate.getTime()) return [`${which} has expired on ${validToDate.toISOString()}: renew it`];
  if (now_ms >= validFromDate.getTime()) return [];
  return [`${which} is not valid before ${validFromDate.toISOString()}: wait for it, or set the clock of this machine`];
}

function readChain(path: string): { readonly certificates: readonly X509Certificate[] } | { readonly failure: string } {
  const file = read(path);
  if ("failure" in file) return file;
  const blocks = file.text.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
  try {
    const certificates = blocks.map((block) => new X509Certificate(block));
    if (certificates.length > 0) return { certificates };
  } catch {
    // Damaged: no certificate, either.
  }
  return { failure: "is not a certificate chain: name a PEM file with BEGIN CERTIFICATE" };
}

function readKey(path: string): { readonly key: KeyObject } | { readonly failure: string } {
  const file = read(path);
  if ("failure" in file) return file;
  try {
    return { key: createPrivateKey(file.text) };
  } catch (error) {
    const isEncrypted = codeOf(error) === "ERR_MISSING_PASSPHRASE";
    return {
      failure: isEncrypted
        ? "has a passphrase, which nobody could enter: take it off (openssl pkey -in OLD -out NEW)"
        : "is not a private key: name a PEM file with BEGIN PRIVATE KEY",
    };
  }
}
