import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder } from "./folder.ts";

export interface Certified {
  readonly cert: string;
  readonly key: string;
}

/** The authority signs for itself. */
const authority = `
[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = DNS:localhost, IP:127.0.0.1
`;

/** A self-signed certificate of localhost and its key, PEM files, valid from and to the starts of these days (`20260131`). */
export function certify(from = "20200101", to = "20991231"): Certified {
  const cwd = folder();
  writeFileSync(join(cwd, "index.txt"), "");
  writeFileSync(join(cwd, "authority.cnf"), authority);
  openssl(cwd, [
    "req",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-subj",
    "/CN=localhost",
    "-keyout",
    "key.pem",
    "-out",
    "request.pem",
  ]);
  const dates = ["-startdate", `${from}000000Z`, "-enddate", `${to}000000Z`];
  const files = ["-keyfile", "key.pem", "-in", "request.pem", "-out", "cert.pem"];
  openssl(cwd, ["ca", "-config", "authority.cnf", "-batch", "-notext", "-selfsign", ...files, ...dates]);
  return { cert: join(cwd, "cert.pem"), key: join(cwd, "key.pem") };
}

/** An authority of one's own: `cert` is the file that has to be known to those who trust it. */
export interface Authority {
  readonly cert: string;
  /** A certificate for these names (`DNS:localhost`), and its key. */
  issue(names: string, from?: string, to?: string): Certified;
}

export function createAuthority(): Authority {
  const cwd = folder();
  const isAuthority = ["-addext", "basicConstraints=critical,CA:TRUE", "-subj", "/CN=Our own authority"];
  openssl(cwd, [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    ...isAuthority,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
  ]);
  writeFileSync(join(cwd, "index.txt"), "");
  let issued = 0;

  function issue(names: string, from = "20200101", to = "20991231"): Certified {
    const [cert, key] = [`${++issued}.pem`, `${issued}.key`];
    writeFileSync(join(cwd, "authority.cnf"), authority.replace(/^subjectAltName.*$/m, `subjectAltName = ${names}`));
    openssl(cwd, [
      "req",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-subj",
      `/CN=${issued}`,
      "-keyout",
      key,
      "-out",
      "request.pem",
    ]);
    const dates = ["-startdate", `${from}000000Z`, "-enddate", `${to}000000Z`];
    const files = ["-cert", "ca.pem", "-keyfile", "ca.key", "-in", "request.pem", "-out", cert];
    openssl(cwd, ["ca", "-config", "authority.cnf", "-batch", "-notext", ...files, ...dates]);
    return { cert: join(cwd, cert), key: join(cwd, key) };
  }

  return { cert: join(cwd, "ca.pem"), issue };
}

/** The same key under a passphrase. */
export function encrypted({ key }: Certified): string {
  const path = join(folder(), "encrypted.pem");
  openssl(folder(), ["pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", path]);
  return path;
}

function openssl(cwd: string, args: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args], { cwd, stdout: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(stderr.toString());
}
