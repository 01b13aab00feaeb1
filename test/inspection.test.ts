import { afterEach, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { env, run } from "./support/binary.ts";
import { certify, encrypted } from "./support/certificates.ts";
import { folder } from "./support/folder.ts";
import { startRealm } from "./support/realm.ts";

/** `check` looks at what the settings name. */

/** Somebody who owns nothing: root may read and write everything. */
const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

interface Options {
  readonly env?: Record<string, string>;
  readonly args?: readonly string[];
  readonly wrapper?: readonly string[];
}

async function check({ env: more = {}, args = [], wrapper = [] }: Options = {}) {
  const plain = await run(["check", ...args], { env: { ...env, ...more }, wrapper });
  const strict = await run(["check", "--strict", ...args], { env: { ...env, ...more }, wrapper });
  return { codes: [plain.code, strict.code], said: strict.stderr };
}

const fine = { codes: [0, 0], said: "" };
const warned = (text: string) => ({ codes: [0, 1], said: expect.stringMatching(new RegExp(`^warning: .*${text}`)) });
const failed = (text: string) => ({ codes: [1, 1], said: expect.stringMatching(new RegExp(`^problem: .*${text}`)) });

describe("secrets that other users can read", () => {
  const digest = `sha256:${"0".repeat(64)}`;
  async function checkFile(text: string, mode: number) {
    const path = join(folder(), "amper.toml");
    writeFileSync(path, text);
    chmodSync(path, mode);
    const given = { AMPER_HOST: "127.0.0.1", AMPER_JOURNAL: "memory:", AMPER_CONFIG: path };
    const missing = { AMPER_API_KEYS: `a=${digest}`, AMPER_WS_TOKENS: `b=sha256:${"1".repeat(64)}` };
    const plain = await run(["check"], { env: { ...given, ...missing } });
    const strict = await run(["check", "--strict"], { env: { ...given, ...missing } });
    return { codes: [plain.code, strict.code], said: strict.stderr };
  }

  const secret = "0123456789abcdef0123456789abcdef";
  const secrets: Readonly<Record<string, string>> = {
    token_secret: `token_secret = ["${secret}"]`,
    metrics_token: `metrics_token = "${secret}"`,
  };
  for (const [name, text] of Object.entries(secrets)) {
    test(`${name} in a file of mode 644 is a warning, with the remedy`, async () => {
      expect(await checkFile(text, 0o644)).toEqual(warned(`mode 644\\) and has secrets \\(${name}\\): chmod 600`));
    });
  }

  test("so is one key in the clear among digests, in each spelling", async () => {
    const spellings = [
      `api_keys = "a=${digest},b=${secret}"`,
      `api_keys = ["a=${digest}", "b=${secret}"]`,
      `[api_keys.a]\nkey = "${digest}"\n[api_keys.b]\nkey = "${secret}"`,
      `[ws_tokens.b]\ntoken = "${secret}"`,
    ];
    for (const text of spellings) {
      const { codes, said } = await checkFile(text, 0o604);
      expect({ text, said }).toEqual({ text, said: expect.stringContaining("mode 604") });
      expect(codes).toEqual([0, 1]);
      expect(said).not.toContain(secret);
    }
  });

  for (const mode of [0o600, 0o400, 0o440, 0o640]) {
    test(`mode ${mode.toString(8)} is nobody else's, or of a group that was made for it`, async () => {
      expect(await checkFile(secrets["token_secret"] ?? "", mode)).toEqual(fine);
    });
  }

  test("digests of keys, and settings that are no secrets, may be read by everybody", async () => {
    expect(await checkFile(`port = 3001\njournal_sync = "full"\n`, 0o644)).toEqual(fine);
    const { said } = await checkFile(`[api_keys.c]\nkey = "sha256:${"2".repeat(64)}"`, 0o644);
    expect(said).not.toContain("chmod");
  });

  test("a file that everybody may change is a warning, whatever is in it", async () => {
    expect(await checkFile("port = 3001", 0o666)).toEqual(warned("can be changed by every user .*mode 666.*chmod 600"));
  });

  test("a secret in a flag is one: the arguments of a process are for all", async () => {
    const args = [`--metrics-token=${secret}`];
    expect(await check({ args })).toEqual(warned("--metrics-token has a secret.*AMPER_METRICS_TOKEN"));
    expect(await check({ args: ["--port=3001"] })).toEqual(fine);
  });

  test("the key of the certificate, too", async () => {
    const { cert, key } = certify();
    chmodSync(key, 0o644);
    const given = { AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key };
    expect(await check({ env: given })).toEqual(warned("tls_key .*mode 644.*chmod 600"));
    chmodSync(key, 0o640);
    expect(await check({ env: given })).toEqual(fine);
  });
});

describe("certificates", () => {
  const own = certify();
  const other = certify();
  chmodSync(own.key, 0o600);
  // So that it may stand where the key belongs.
  chmodSync(own.cert, 0o600);
  const files = (cert: string, key: string) => ({ env: { AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key } });
  function written(text: string): string {
    const path = join(folder(), "written.pem");
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  test("one with its own key is fine", async () => {
    expect(await check(files(own.cert, own.key))).toEqual(fine);
  });

  const broken: Readonly<Record<string, { cert?: () => string; key?: () => string; says: string }>> = {
    "a certificate that is not there": { cert: () => `${own.cert}x`, says: "tls_cert .* does not exist: " },
    "a key that is not there": { key: () => `${own.key}x`, says: "tls_key .* does not exist: " },
    "a folder": { cert: folder, says: "tls_cert .* is a folder: " },
    "an empty file": { cert: () => written(""), says: "tls_cert .* is not a certificate chain: " },
    "a damaged certificate": {
      cert: () => written("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
      says: "tls_cert .* is not a certificate chain: ",
    },
    "the two the wrong way round": {
      cert: () => own.key,
      key: () => own.cert,
      says: "tls_cert .* is not a certificate",
    },
    "a certificate in place of its key": { key: () => own.cert, says: "tls_key .* is not a private key: " },
    "the key of another certificate": {
      key: () => other.key,
      says: "tls_key .* does not belong to the first certificate",
    },
    "another certificate before its own": {
      cert: () => written(readFileSync(other.cert, "utf8") + readFileSync(own.cert, "utf8")),
      says: "tls_key .* does not belong to the first certificate",
    },
    "a key with a passphrase": { key: () => encrypted(own), says: "tls_key .* has a passphrase.*openssl pkey" },
  };
  for (const [name, { cert = () => own.cert, key = () => own.key, says }] of Object.entries(broken)) {
    test(`${name} is a problem, at check and at serve`, async () => {
      const given = files(cert(), key());
      expect(await check(given)).toEqual(failed(says));
      const { code, stderr } = await run(["serve"], { env: { ...env, ...given.env } });
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(new RegExp(`cannot start:\n  - ${says}`)),
      });
    });
  }

  const old: Readonly<Record<string, { from: string; to: string; says: string }>> = {
    "that has expired": { from: "20200101", to: "20200201", says: "has expired on 2020-02-01.*: renew it" },
    "of tomorrow": { from: "20980101", to: "20990101", says: "is not valid before 2098-01-01" },
  };
  for (const [name, { from, to, says }] of Object.entries(old)) {
    test(`one ${name} is a problem, also as a part of the chain`, async () => {
      const { cert, key } = certify(from, to);
      expect(await check(files(cert, key))).toEqual(failed(says));
      const chain = written(readFileSync(own.cert, "utf8") + readFileSync(cert, "utf8"));
      expect(await check(files(chain, own.key))).toEqual(failed(says));
    });
  }

  test("a key that may not be read is called that, and no port", async () => {
    const { cert, key } = certify();
    chmodSync(key, 0o600);
    const { env: given } = files(cert, key);
    expect(await check({ env: given, wrapper: nobody })).toEqual(failed("tls_key .* cannot be read by user 65534: "));
    const { code, stderr } = await run(["serve"], { env: { ...env, ...given }, wrapper: nobody });
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("cannot be read by user 65534") });
    expect(stderr).not.toContain("privileges");
    // Nor does anybody look into a folder of others.
    chmodSync(dirname(key), 0o700);
    expect(await check({ env: given, wrapper: nobody })).toEqual(failed("tls_cert .* cannot be read by user 65534: "));
  });
});

describe("the place of the journal", () => {
  const at = (path: string, wrapper: readonly string[] = []) => ({ env: { AMPER_JOURNAL: `sqlite:${path}` }, wrapper });

  test("is fine where the service can make it, and `check` does not", async () => {
    const home = folder();
    expect(await check(at(join(home, "amper.db")))).toEqual(fine);
    expect(await Array.fromAsync(new Bun.Glob("*").scan({ cwd: home, dot: true }))).toEqual([]);
  });

  test("is no circle of links", async () => {
    const home = folder();
    for (const [from, to] of [
      ["a", "b"],
      ["b", "a"],
    ] as const)
      symlinkSync(join(home, to), join(home, from));
    expect(await check(at(join(home, "a")))).toEqual(failed("journal: .*is a link that leads back to itself"));
  });

  test("is fine beside a link's target, not beside the link", async () => {
    const [home, target] = [folder(), join(folder(), "gone")];
    symlinkSync(join(target, "amper.db"), join(home, "amper.db"));
    expect(await check(at(join(home, "amper.db")))).toEqual(failed("does not exist"));
    mkdirSync(target);
    expect(await check(at(join(home, "amper.db")))).toEqual(fine);
  });

  const broken: Readonly<Record<string, { path: () => string; says: string; wrapper?: readonly string[] }>> = {
    "a folder that is not there": {
      path: () => join(folder(), "none/amper.db"),
      says: "the folder .*none does not exist: ",
    },
    "a file in place of the folder": {
      path() {
        const file = join(folder(), "file");
        writeFileSync(file, "");
        return join(file, "amper.db");
      },
      says: "file is not a folder: ",
    },
    "a folder in place of the file": { path: folder, says: "is a folder: name a file in it" },
    "a folder of others": {
      path: () => join(folder(), "amper.db"),
      says: "cannot be written by user 65534: ",
      wrapper: nobody,
    },
    "a file of others": {
      path() {
        const home = folder();
        chmodSync(home, 0o777);
        writeFileSync(join(home, "amper.db"), "", { mode: 0o600 });
        return join(home, "amper.db");
      },
      says: "amper.db cannot be opened for writing by user 65534: ",
      wrapper: nobody,
    },
    "a text": {
      path() {
        const path = join(folder(), "letter.txt");
        writeFileSync(path, "Dear Sirs");
        return path;
      },
      says: "letter.txt is not a journal of this service",
    },
    "a database of others": {
      path() {
        const path = join(folder(), "other.db");
        const db = new Database(path);
        db.run("CREATE TABLE letters (text)");
        db.close();
        return path;
      },
      says: "other.db is not a journal of this service",
    },
  };
  for (const [name, { path, says, wrapper }] of Object.entries(broken)) {
    test(`${name} is a problem`, async () => {
      expect(await check(at(path(), wrapper))).toEqual(failed(`journal: .*${says}`));
    });
  }
});

describe("Keycloak", () => {
  let server: Bun.Server<undefined> | undefined;
  afterEach(async () => {
    await server?.stop(true);
    server = undefined;
  });
  function serve(
    answer: (request: Request) => Response | Promise<Response>,
    tls?: { cert: string; key: string },
  ): string {
    const files = tls && { tls: { cert: Bun.file(tls.cert), key: Bun.file(tls.key) } };
    server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer, ...files });
    return `${tls === undefined ? "http" : "https"}://localhost:${server.port}/realms/main`;
  }
  const realm = (issuer: string, more: Record<string, string> = {}) => ({
    env: { AMPER_KEYCLOAK_ISSUER: issuer, ...more },
  });

  test("one that answers is fine", async () => {
    const { issuer } = await startRealm({ now: Date.now });
    expect(await check(realm(issuer))).toEqual(fine);
  });

  test("a name that nobody has", async () => {
    const issuer = "https://keycloak.invalid/realms/main";
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: no address of keycloak.invalid: .*DNS"));
  });

  test("a port on which nobody listens", async () => {
    const issuer = "http://127.0.0.1:1/realms/main";
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: no service listens at 127.0.0.1:1: "));
  });

  test("a realm that is not there", async () => {
    const issuer = serve(() => new Response(null, { status: 404 }));
    expect(await check(realm(issuer))).toEqual(
      warned("keycloak.issuer: 404 from http://localhost:.*openid.*: .*/auth"),
    );
  });

  test("one that is broken", async () => {
    const issuer = serve(() => new Response(null, { status: 502 }));
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: status 502 from .*: see the log"));
  });

  test("one that does not answer", async () => {
    const { promise: never } = Promise.withResolvers<Response>();
    const issuer = serve(() => never);
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: no answer from .* within 5 s: .*firewalls"));
  });

  test("something else at its address", async () => {
    const issuer = serve(() => new Response("<html>"));
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: no document of Keycloak at "));
  });

  test("a redirect", async () => {
    const issuer = serve(() => Response.redirect("https://elsewhere.example/"));
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: .* redirects to another address: "));
  });

  test("an issuer in another spelling", async () => {
    const issuer = serve(() =>
      Response.json({ issuer: "http://127.0.0.1/realms/main", jwks_uri: "http://127.0.0.1/x" }),
    );
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: .* names another issuer: "));
  });

  test("https where it speaks http", async () => {
    const issuer = serve(() => new Response()).replace("http:", "https:");
    expect(await check(realm(issuer))).toEqual(warned("keycloak.issuer: no TLS at localhost:"));
  });

  test("a certificate of an authority of one's own, until that is named", async () => {
    const files = certify();
    const issuer = serve(({ url }) => Response.json({ issuer, jwks_uri: url, keys: [] }), files);
    expect(await check(realm(issuer))).toEqual(
      warned("keycloak.issuer: the certificate .* is not trusted: .*NODE_EXTRA_CA"),
    );
    const named = realm(issuer, { NODE_EXTRA_CA_CERTS: files.cert });
    expect(await check(named)).toEqual(warned("keycloak.issuer: no usable key at "));
  });

  test("the address of its keys", async () => {
    const url = serve(() => new Response(null, { status: 404 }));
    const more = { AMPER_KEYCLOAK_JWKS_URL: `${url}/keys` };
    expect(await check(realm(url, more))).toEqual(warned("keycloak.jwks_url: 404 from .*/keys: "));
  });

  test("no key for the algorithms that are accepted", async () => {
    const { issuer } = await startRealm({ now: Date.now });
    const more = { AMPER_KEYCLOAK_ALGORITHMS: "EdDSA" };
    expect(await check(realm(issuer, more))).toEqual(warned("keycloak.algorithms: .* has no key for EdDSA: "));
  });
});
