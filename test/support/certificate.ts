import { join } from "node:path";
import { folder } from "./folder.ts";

/** What a key is made of. */
const keys = {
  rsa: ["-newkey", "rsa:2048"],
  ecdsa: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
} as const;

/** The files of a certificate for `localhost` that nobody has signed but itself. */
export function certificate(kind: keyof typeof keys = "ecdsa"): { readonly cert: string; readonly key: string } {
  const home = folder();
  const [cert, key] = [join(home, "cert.pem"), join(home, "key.pem")];
  const subject = ["-subj", "/CN=localhost", "-days", "1", "-nodes"];
  const made = Bun.spawnSync(["openssl", "req", "-x509", ...subject, ...keys[kind], "-keyout", key, "-out", cert]);
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  return { cert, key };
}
