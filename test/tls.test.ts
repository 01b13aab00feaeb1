import { connect, type ConnectionOptions } from "node:tls";
import { describe, expect, test } from "bun:test";
import { certificate } from "./support/certificate.ts";
import { start } from "./support/service.ts";

/** The TLS that the service itself speaks: nothing that a recorded connection could be read by later, or a padding oracle. */

const kinds = {
  rsa: {
    good: ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"],
    // An exchange of the key by RSA itself, and CBC.
    bad: [
      "AES128-GCM-SHA256",
      "AES256-GCM-SHA384",
      "AES128-SHA",
      "AES256-SHA",
      "ECDHE-RSA-AES128-SHA",
      "ECDHE-RSA-AES256-SHA",
    ],
  },
  ecdsa: {
    good: ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    bad: ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA"],
  },
} as const;

async function startWith(kind: keyof typeof kinds): Promise<string> {
  const { cert, key } = certificate(kind);
  return (await start({ AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key })).url;
}

/** What a client that offers so much, and no more, agrees on with the service; or the error. */
function agree(url: string, offer: ConnectionOptions): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect(
    { host: "127.0.0.1", port: Number(new URL(url).port), rejectUnauthorized: false, ...offer },
    () => resolve(`${socket.getProtocol()} ${socket.getCipher().name}`),
  );
  socket.on("error", (error) => resolve(String(error)));
  return promise.finally(() => socket.destroy());
}

describe.each(["rsa", "ecdsa"] as const)("with a certificate of %s", (kind) => {
  test("TLS 1.2 is spoken with ECDHE and AEAD, and with nothing else", async () => {
    const url = await startWith(kind);
    for (const ciphers of kinds[kind].good) {
      expect(await agree(url, { ciphers, maxVersion: "TLSv1.2" })).toBe(`TLSv1.2 ${ciphers}`);
    }
    for (const ciphers of kinds[kind].bad) {
      const seen = await agree(url, { ciphers, maxVersion: "TLSv1.2" });
      expect([ciphers, seen]).toEqual([ciphers, expect.stringMatching(/HANDSHAKE_FAILURE|handshake failure/i)]);
    }
    const all = [...kinds[kind].bad, ...kinds[kind].good].join(":");
    expect(await agree(url, { ciphers: all, maxVersion: "TLSv1.2" })).toStartWith("TLSv1.2 ECDHE-");
  });

  test("TLS 1.3 is spoken, and TLS 1.1 and 1.0 are refused", async () => {
    const url = await startWith(kind);
    expect(await agree(url, { minVersion: "TLSv1.3" })).toStartWith("TLSv1.3 TLS_");
    for (const version of ["TLSv1.1", "TLSv1"] as const) {
      const seen = await agree(url, { minVersion: version, maxVersion: version });
      expect([version, seen]).toEqual([version, expect.stringMatching(/error/i)]);
    }
  });

  test("requests are answered", async () => {
    const url = await startWith(kind);
    const response = await fetch(`${url}/health/live`, { tls: { rejectUnauthorized: false } });
    expect(await response.json()).toEqual({ status: "live" });
  });
});
