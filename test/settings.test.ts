import { describe, expect, spyOn, test } from "bun:test";
import * as v from "valibot";
import { check } from "../src/commands/check.ts";
import { Channel } from "../src/model/names.ts";
import { printout, settingsHelp, settingsTable } from "../src/settings/describe.ts";
import { loadSettings, missing, type Loaded } from "../src/settings/load.ts";
import { items } from "../src/settings/schema.ts";
import { seeded } from "./support/random.ts";

interface Case {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly file?: string;
  readonly strict?: boolean;
}

function load({ args = [], env = {}, file, strict = false }: Case): Loaded {
  const flags = file === undefined ? args : ["--config=amper.toml", ...args];
  return loadSettings({ args: flags, env, strict, readFile: () => file ?? "" });
}

function good(given: Case) {
  const loaded = load(given);
  if (!loaded.ok) throw new Error(loaded.problems.join("\n"));
  return loaded;
}

const settingsOf = (given: Case) => good(given).settings;
const warningsOf = (given: Case) => load(given).warnings;

function problemsOf(given: Case): readonly string[] {
  const loaded = load(given);
  return loaded.ok ? [] : loaded.problems;
}

const channel = (name: string) => v.parse(Channel, name);
const digest = (secret: string) => new Bun.CryptoHasher("sha256").update(secret).digest("hex");

function randomly() {
  const { seed, random } = seeded();
  const below = (limit: number) => Math.floor(random() * limit);
  const text = (length: number) => Array.from({ length }, () => below(36).toString(36)).join("");
  return { seed, below, text };
}

test("without any source every setting has its default", () => {
  const loaded = good({});
  expect(loaded.settings).toEqual({
    host: "0.0.0.0",
    port: 3000,
    base_path: "",
    api_keys: [],
    ws_tokens: [],
    token_secret: [],
    token_ttl_seconds: 36_000,
    require_bound_tokens: false,
    keycloak: {
      audience: "amper-channels",
      clients: [],
      algorithms: ["RS256", "PS256", "ES256"],
      logout_clients: [],
      realms: new Map(),
    },
    clock_tolerance_seconds: 5,
    logout_ends_unlinked: true,
    journal: { kind: "sqlite", path: "amper-channels.db" },
    journal_window_seconds: 300,
    journal_window_bytes: 67_108_864,
    journal_sync: "normal",
    takeover_seconds: 30,
    idempotency_hours: 24,
    max_idempotency_bytes: 268_435_456,
    max_held_per_user: 100,
    max_held: 100_000,
    max_held_bytes: 67_108_864,
    cors_origins: "*",
    trust_proxy_hops: 0,
    keep_alive_seconds: 75,
    max_body_bytes: 65_536,
    max_unfinished_bytes: 67_108_864,
    max_url_bytes: 8192,
    max_header_bytes: 16_384,
    max_json_depth: 64,
    max_list_length: 1000,
    notify_rate_per_second: 10_000,
    notify_burst: 20_000,
    authorize_rate_per_second: 500,
    authorize_burst: 10_000,
    handshake_rate_per_second: 500,
    handshake_burst: 10_000,
    auth_failures_per_minute: 100,
    max_connections: 100_000,
    max_connections_per_user: 50,
    max_connections_per_address: 20_000,
    max_polling: 20_000,
    max_polling_per_address: 5000,
    max_unauthenticated: 10_000,
    max_unauthenticated_per_address: 2500,
    backlog_bytes: 1_048_576,
    backlog_total_bytes: 268_435_456,
    max_client_messages: 100,
    max_client_bytes: 8192,
    connect_timeout_ms: 10_000,
    ping_interval_ms: 25_000,
    ping_timeout_ms: 20_000,
    drain_seconds: 10,
    metrics_open: false,
    log_level: "info",
  });
  expect(loaded.warnings).toEqual([]);
  expect(new Set(loaded.origins.values())).toEqual(new Set(["default"]));
});

describe("a bad value is refused, by rule, wherever it comes from", () => {
  const bad: readonly (readonly [path: string, value: string, problem: string])[] = [
    ["host", "a b", 'must be a host name or an IP address, not "a b"'],
    ["host", "http://x", 'must be a host name or an IP address, not "http://x"'],
    ["port", "65536", "must be a whole number from 0 to 65535"],
    ["port", "-1", "must be a whole number from 0 to 65535"],
    ["port", "80.5", "must be a whole number from 0 to 65535"],
    ["port", "0x50", 'must be a whole number from 0 to 65535, not "0x50"'],
    [
      "base_path",
      "/a b",
      'must be a path such as /notifications, of letters, digits and . _ ~ - between slashes, not "/a b"',
    ],
    ["api_keys", "orders", "entry 1 must have a name of 1–64 characters out of A–Z a–z 0–9 . _ - as in name=key"],
    ["api_keys", "a b=0123456789abcdef", "entry 1 must have a name of 1–64"],
    ["api_keys", "a=1234567890123456,b=", "entry 2 must have a key of 1–1024 ASCII characters"],
    ["api_keys", "a=schlüssel-0123456789", "entry 1 must have a key of 1–1024 ASCII characters"],
    ["api_keys", "a=1234567890123456,a=6543210987654321", "entry 2 has the same name as entry 1"],
    ["api_keys", "a=1234567890123456,b=1234567890123456", "entry 2 has the same key as entry 1"],
    ["api_keys", "a=sha256:abc", "entry 1 must have 64 hexadecimal digits behind sha256:"],
    ["api_keys", "c2VjcmV0==", "entry 1 must have a name, as in name=key"],
    ["ws_tokens", "front", "entry 1 must have a name of 1–64"],
    ["ws_tokens", "front=a b", "entry 1 must have a key of 1–1024 ASCII characters without spaces"],
    ["ws_tokens", "front=0123456789-пароль", "headers carry no others"],
    ["token_secret", "too-short", "entry 1 must have at least 32 bytes"],
    ["token_ttl_seconds", "0", "must be a whole number from 1 to 2592000"],
    ["token_ttl_seconds", "2592001", "must be a whole number from 1 to 2592000"],
    ["require_bound_tokens", "maybe", 'must be true or false, not "maybe"'],
    ["clock_tolerance_seconds", "301", "must be a whole number from 0 to 300, not 301"],
    ["logout_ends_unlinked", "maybe", 'must be true or false, not "maybe"'],
    ["keycloak.issuer", "kc.example.com", "must be a http(s) URL without user name, password and #"],
    ["keycloak.issuer", "ftp://kc.example.com", "must be a http(s) URL"],
    ["keycloak.issuer", "https://kc.example.com/?a", "must be a URL without a query"],
    [
      "keycloak.issuer",
      "https://user:pass@kc.example.com",
      'without user name, password and #, not "https://…@kc.example.com"',
    ],
    ["keycloak.audience", "account", "must not be account, which is in every token of the realm"],
    ["keycloak.clients", "a b", 'entry 1 must be a client id without spaces, not "a b"'],
    ["keycloak.logout_clients", "msf-web,a b", 'entry 2 must be a client id without spaces, not "a b"'],
    [
      "keycloak.algorithms",
      "RS256,none,HS256",
      'entry 2 must be out of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA, not "none"',
    ],
    ["journal_sync", "sometimes", 'must be normal or full, not "sometimes"'],
    ["takeover_seconds", "-1", "must be a whole number from 0 to 3600, not"],
    ["idempotency_hours", "0", "must be a whole number from 1 to 168, not"],
    ["max_idempotency_bytes", "1", "must be a number of bytes from 1 MiB to 64 GiB"],
    ["max_held_per_user", "0", "must be a whole number from 1 to 100000, not"],
    ["max_held", "0", "must be a whole number from 1 to 10000000, not"],
    ["max_held_bytes", "65 GiB", "must be a number of bytes from 1 to 64 GiB"],
    ["journal", "sqlite:", "must be sqlite:PATH or memory:"],
    ["journal", "redis://localhost", "redis://… is not available in this version; use sqlite:PATH"],
    ["journal", "rediss://localhost", "rediss://… is not available in this version; use sqlite:PATH"],
    [
      "journal",
      "postgres://x",
      "must be sqlite:PATH or memory: (redis://… and rediss://… will be accepted by a later version)",
    ],
    ["journal_window_seconds", "0", "must be a whole number from 1 to 604800, not"],
    [
      "journal_window_bytes",
      "64MB",
      'must be a number of bytes from 1 to 64 GiB, such as 65536, 64 KiB, 8 MiB or 1 GiB, not "64MB"',
    ],
    ["journal_window_bytes", "65 GiB", "must be a number of bytes from 1 to 64 GiB"],
    [
      "cors_origins",
      "https://a.example/path",
      "entry 1 must be * or a list of origins such as https://app.example.com, without a path",
    ],
    ["cors_origins", "https://a.example,*", 'entry 2 must not be *: that stands alone, and is all origins, not "*"'],
    ["trust_proxy_hops", "17", "must be a whole number from 0 to 16"],
    ["keep_alive_seconds", "241", "must be a whole number from 1 to 240"],
    ["max_body_bytes", "0", "must be a number of bytes from 1 to 64 MiB"],
    ["max_unfinished_bytes", "1000", "must be a number of bytes from 64 KiB to 64 GiB"],
    ["max_url_bytes", "1023", "must be a number of bytes from 1 KiB to 16 KiB"],
    ["max_header_bytes", "65 KiB", "must be a number of bytes from 1 KiB to 64 KiB"],
    ["max_json_depth", "1001", "must be a whole number from 1 to 1000"],
    ["max_list_length", "0", "must be a whole number from 1 to 100000"],
    ["notify_rate_per_second", "0.5", "must be a whole number from 1 to 1000000"],
    ["notify_burst", "0", "must be a whole number from 1 to 10000000"],
    ["authorize_rate_per_second", "0", "must be a whole number from 1 to 1000000"],
    ["authorize_burst", "0", "must be a whole number from 1 to 10000000"],
    ["handshake_rate_per_second", "0", "must be a whole number from 1 to 1000000"],
    ["handshake_burst", "0", "must be a whole number from 1 to 10000000"],
    ["auth_failures_per_minute", "0", "must be a whole number from 1 to 1000000"],
    ["max_connections", "0", "must be a whole number from 1 to 10000000"],
    ["max_connections_per_user", "0", "must be a whole number from 1 to 100000"],
    ["max_connections_per_address", "0", "must be a whole number from 1 to 10000000"],
    ["max_polling", "0", "must be a whole number from 1 to 10000000"],
    ["max_polling_per_address", "0", "must be a whole number from 1 to 10000000"],
    ["max_unauthenticated", "0", "must be a whole number from 1 to 10000000"],
    ["max_unauthenticated_per_address", "0", "must be a whole number from 1 to 10000000"],
    [
      "backlog_bytes",
      "much",
      'must be a number of bytes from 1 to 1 GiB, such as 65536, 64 KiB, 8 MiB or 1 GiB, not "much"',
    ],
    ["backlog_total_bytes", "0", "must be a number of bytes from 1 to 64 GiB"],
    ["max_client_messages", "9", "must be a whole number from 10 to 1000000"],
    ["max_client_bytes", "1000", "must be a number of bytes from 1 KiB to 64 MiB"],
    ["connect_timeout_ms", "99", "must be a whole number from 100 to 300000"],
    ["ping_interval_ms", "120001", "must be a whole number from 100 to 120000"],
    ["ping_timeout_ms", "300001", "must be a whole number from 100 to 300000"],
    ["drain_seconds", "3601", "must be a whole number from 0 to 3600"],
    ["tls_cert", "a\u0007b", 'must be a path, not "a\\u{7}b"'],
    ["tls_key", "a\u0007b", 'must be a path, not "a\\u{7}b"'],
    ["metrics_token", "a b", "must be a text of 1–1024 ASCII characters without spaces"],
    ["metrics_token", "0123456789-märchen", "headers carry no others"],
    ["metrics_open", "yes please", 'must be true or false, not "yes please"'],
    ["log_level", "verbose", 'must be silent, error, warn, info or debug, not "verbose"'],
  ];

  for (const [path, value, problem] of bad) {
    test(`${path} = ${JSON.stringify(value)}`, () => {
      const item = items.find((one) => one.path === path);
      const variable = item?.variables[0] ?? "";
      const flag = item?.flag ?? "";
      const inFile = problemsOf({ file: `${path} = ${JSON.stringify(value)}` });
      const inEnvironment = problemsOf({ env: { [variable]: value } });
      const inFlag = problemsOf({ args: [`${flag}=${value}`] });
      for (const [problems, name] of [
        [inFile, path],
        [inEnvironment, variable],
        [inFlag, flag],
      ] as const) {
        expect(problems[0]).toStartWith(`${name} `);
        expect(problems[0]?.replace(" in amper.toml", "")).toContain(problem);
      }
      expect(inFile[0]).toContain(" in amper.toml ");
    });
  }

  test("every setting that can be set outside the file has such a case", () => {
    const covered = new Set(bad.map(([path]) => path));
    const settable = items.filter(({ variables, path }) => variables.length > 0 && path !== "keycloak.jwks_url");
    expect(settable.filter(({ path }) => !covered.has(path))).toEqual([]);
  });

  test("no problem is a default message of a library", () => {
    for (const { path } of items) {
      for (const value of ["1e400", "nan", "[[1]]", "{ a = { b = 1 } }", "[true]", "2027-01-01", "''", "[{}]"]) {
        for (const problem of problemsOf({ file: `${path} = ${value}` })) {
          expect(problem).not.toMatch(/Invalid|Expected|received|undefined|object Object/);
          expect(problem).toContain(" in amper.toml ");
        }
      }
    }
  });

  test("jwks_url without issuer, and one TLS file without the other", () => {
    expect(problemsOf({ env: { AMPER_KEYCLOAK_JWKS_URL: "https://kc/jwks" } })).toEqual([
      "AMPER_KEYCLOAK_JWKS_URL needs keycloak.issuer too (AMPER_KEYCLOAK_ISSUER)",
    ]);
    expect(problemsOf({ env: { AMPER_KEYCLOAK_JWKS_URL: "nowhere", AMPER_KEYCLOAK_ISSUER: "https://kc" } })).toEqual([
      'AMPER_KEYCLOAK_JWKS_URL must be a http(s) URL without user name, password and #, not "nowhere"',
    ]);
    expect(problemsOf({ args: ["--tls-cert", "c.pem"] })).toEqual(["--tls-cert needs tls_key too (AMPER_TLS_KEY)"]);
    expect(problemsOf({ file: 'tls_key = "k.pem"' })).toEqual([
      "tls_key in amper.toml needs tls_cert too (AMPER_TLS_CERT)",
    ]);
    expect(settingsOf({ file: 'tls_key = "k.pem"', args: ["--tls-cert=c.pem"] })).toMatchObject({
      tls_cert: "c.pem",
      tls_key: "k.pem",
    });
  });

  test("a long value is cut", () => {
    expect(problemsOf({ env: { AMPER_LOG_LEVEL: "x".repeat(1000) } })[0]?.length).toBeLessThan(200);
  });
});

describe("values", () => {
  test("byte sizes have units or none", () => {
    for (const [written, size] of [
      ["64MiB", 67_108_864],
      ["1 KiB", 1024],
      ["2GiB", 2_147_483_648],
      ["10 B", 10],
      ["77", 77],
    ] as const) {
      expect(settingsOf({ env: { AMPER_JOURNAL_WINDOW_BYTES: written } }).journal_window_bytes).toBe(size);
    }
    expect(settingsOf({ file: "max_body_bytes = 1_000" }).max_body_bytes).toBe(1000);
  });

  test("an issuer loses its trailing slash and nothing else", () => {
    expect(
      settingsOf({ env: { AMPER_KEYCLOAK_ISSUER: "https://KC.example.com:443/realms/a%20b/" } }).keycloak.issuer,
    ).toBe("https://KC.example.com:443/realms/a%20b");
  });

  test("origins are normalised as a browser sends them", () => {
    expect(
      settingsOf({ env: { AMPER_CORS_ORIGINS: "https://App.example.com:443/, http://localhost:5173" } }).cors_origins,
    ).toEqual(["https://app.example.com", "http://localhost:5173"]);
    expect(settingsOf({ file: 'cors_origins = ["*"]' }).cors_origins).toBe("*");
  });

  test("keys by comma have every right, and only their digest is kept", () => {
    const { api_keys, ws_tokens } = settingsOf({
      env: {
        AMPER_API_KEYS: `orders=0123456789abcdef=, mail=sha256:${digest("mail").toUpperCase()},`,
        AMPER_WS_TOKENS: "front=0123456789~!(|",
      },
    });
    expect(api_keys).toEqual([
      { name: "orders", sha256: digest("0123456789abcdef="), channels: "*", admin: true },
      { name: "mail", sha256: digest("mail"), channels: "*", admin: true },
    ]);
    expect(ws_tokens).toEqual([
      { name: "front", sha256: digest("0123456789~!(|"), channels: "*", require_bound_tokens: false },
    ]);
  });

  test("keys in the file: a table by name, a list of tables, a list of texts, or one text", () => {
    const orders = { name: "orders", sha256: digest("0123456789,abcdef") };
    const all = { channels: "*", admin: true } as const;
    const byName = `[api_keys.orders]\nkey = "0123456789,abcdef"\nchannels = ["msf", "b2b"]\nexpires_at = "2027-01-01T00:00:00+01:00"`;
    const limited = {
      ...orders,
      channels: [channel("msf"), channel("b2b")],
      admin: false,
      expires_at: new Date("2026-12-31T23:00:00Z"),
    };
    expect(settingsOf({ file: byName }).api_keys).toEqual([limited]);
    expect(settingsOf({ file: byName.replace(/"(2027.*)"/, "$1") }).api_keys).toEqual([limited]);
    expect(
      settingsOf({ file: `[[api_keys]]\nname = "orders"\nkey = "sha256:${orders.sha256}"\nadmin = true` }).api_keys,
    ).toEqual([{ ...orders, ...all }]);
    expect(settingsOf({ file: 'api_keys = ["orders=0123456789,abcdef"]' }).api_keys).toEqual([{ ...orders, ...all }]);
    expect(settingsOf({ file: 'api_keys = "orders=0123456789abcdef"' }).api_keys[0]?.sha256).toBe(
      digest("0123456789abcdef"),
    );
    const token = '[ws_tokens.front]\ntoken = "0123456789abcdef"\nrequire_bound_tokens = true\nchannels = "msf"';
    expect(settingsOf({ file: token }).ws_tokens).toEqual([
      { name: "front", sha256: digest("0123456789abcdef"), channels: [channel("msf")], require_bound_tokens: true },
    ]);
  });

  test("tables of keys are checked field by field", () => {
    const file = `
      [api_keys.orders]
      token = "0123456789abcdef"
      chanels = ["msf"]
      [api_keys.mail]
      key = "0123456789abcdef"
      channels = []
      admin = "perhaps"
      expires_at = "2027-02-30T00:00:00Z"
      [api_keys."b c"]
      key = 5
      [ws_tokens.front]
      key = "0123456789abcdef"
      expires_at = 2027-01-01T00:00:00`;
    expect(problemsOf({ file })).toEqual([
      "api_keys.orders.key in amper.toml is missing",
      "api_keys.orders.token in amper.toml is not a known name",
      "api_keys.orders.chanels in amper.toml is not a known name: did you mean channels?",
      "api_keys.mail.channels in amper.toml must name a channel, or be *",
      "api_keys.mail.expires_at in amper.toml must be a date and time with a time zone, such as 2027-01-01T00:00:00Z",
      "api_keys.mail.admin in amper.toml must be true or false",
      "api_keys.b c.name in amper.toml must have a name of 1–64 characters out of A–Z a–z 0–9 . _ - as in name=key",
      "api_keys.b c.key in amper.toml must be a text: a key, or sha256:HEX",
      "ws_tokens.front.expires_at in amper.toml must be a date and time with a time zone, such as 2027-01-01T00:00:00Z",
      "ws_tokens.front.token in amper.toml is missing",
      "ws_tokens.front.key in amper.toml is not a known name",
    ]);
  });

  test("a key may have a rate of its own, and what comes in a second may come at once unless it says otherwise", () => {
    const limitsOf = (rate: string) => {
      const { api_keys, ws_tokens } = settingsOf({
        file: `[api_keys.a]\nkey = "0123456789abcdef"\n${rate}\n[ws_tokens.a]\ntoken = "0123456789abcdef"\n${rate}`,
      });
      const found = [...api_keys, ...ws_tokens].map(({ rate_per_second, burst }) => [rate_per_second, burst]);
      expect(found[1]).toEqual(found[0]);
      return found[0];
    };
    expect(limitsOf("")).toEqual([undefined, undefined]);
    expect(limitsOf("rate_per_second = 100")).toEqual([100, 100]);
    expect(limitsOf("rate_per_second = 2.5")).toEqual([2.5, 3]);
    expect(limitsOf("rate_per_second = 0.5")).toEqual([0.5, 1]);
    expect(limitsOf('rate_per_second = "0.5"\nburst = 10')).toEqual([0.5, 10]);
  });

  test("a rate that is none is refused", () => {
    const problemOf = (rate: string) => problemsOf({ file: `[api_keys.a]\nkey = "0123456789abcdef"\n${rate}` });
    for (const rate of ["0", "-1", "0.0001", "nan", "inf", '"often"', '"1e3"', '""', "1000001", "[1]", "true"]) {
      expect([rate, problemOf(`rate_per_second = ${rate}`)]).toEqual([
        rate,
        ["api_keys.a.rate_per_second in amper.toml must be a number from 0.001 to 1000000"],
      ]);
    }
    for (const burst of ["0", "1.5", "-1"]) {
      expect(problemOf(`rate_per_second = 1\nburst = ${burst}`)).toEqual([
        "api_keys.a.burst in amper.toml must be a whole number from 1 to 10000000",
      ]);
    }
    expect(problemOf("burst = 5")).toEqual(["api_keys.a.burst in amper.toml means nothing without rate_per_second"]);
  });

  test("channel rules come from the file, as a map", () => {
    const { channels } = settingsOf({
      file: '[channels.msf]\nroles = ["msf-user"]\nclients = "a, b"\n[channels.__proto__]\n',
    });
    expect(Array.from(channels ?? [])).toEqual([
      [channel("msf"), { roles: ["msf-user"], clients: ["a", "b"] }],
      [channel("__proto__"), { roles: [], clients: [] }],
    ]);
    expect(problemsOf({ file: '[channels."m s"]\nrole = ["x"]\nroles = 5' })).toEqual([
      'channels.m s in amper.toml must have 1–64 characters out of A–Z a–z 0–9 . _ -, not "m s"',
      "channels.m s.roles in amper.toml must be a list, or a text with commas, not 5",
      "channels.m s.role in amper.toml is not a known name: did you mean roles?",
    ]);
    expect(problemsOf({ file: "channels = {}" })).toEqual([
      "channels in amper.toml must name a channel, or be left out",
    ]);
  });
});

describe("what is doubtful together is a warning", () => {
  const key = "0123456789abcdef";

  test("a key or WS token for a channel that there is not", () => {
    const file = `[channels.msf]\n[api_keys.orders]\nkey = "${key}"\nchannels = ["msff"]\n[ws_tokens.front]\ntoken = "x${key}"\nchannels = ["msf"]`;
    expect(warningsOf({ file })).toEqual([
      "api_keys.orders.channels names msff, which is no channel: did you mean msf?",
    ]);
  });

  test("keys of the file beside keys of the environment", () => {
    const file = `[api_keys.orders]\nkey = "${key}"`;
    expect(warningsOf({ file, env: { AMPER_API_KEYS: `a=x${key}` } })).toEqual([
      "api_keys in amper.toml counts for nothing beside AMPER_API_KEYS",
    ]);
  });
});

describe("sources", () => {
  test("flags win over the environment, it over the file, the file over defaults, and a list is replaced as a whole", () => {
    const file = 'port = 1\nhost = "file"\ntoken_ttl_seconds = 5\napi_keys = "a=0123456789abcdef"\n';
    const env = { AMPER_PORT: "2", AMPER_HOST: "env", AMPER_API_KEYS: "b=0123456789abcdef" };
    const { settings, origins } = good({ file, env, args: ["--port=3"] });
    expect(settings).toMatchObject({ port: 3, host: "env", token_ttl_seconds: 5, drain_seconds: 10 });
    expect(settings.api_keys.map(({ name }) => name)).toEqual(["b"]);
    expect(["port", "host", "token_ttl_seconds", "drain_seconds"].map((path) => origins.get(path))).toEqual([
      "flag",
      "environment",
      "file",
      "default",
    ]);
  });

  test("precedence is that of a naive model, for random sources", () => {
    const { seed, below } = randomly();
    const numbers = items.filter(({ fallback, path }) => typeof fallback === "number" && !path.includes("."));
    expect(numbers.length).toBeGreaterThan(10);
    for (let round = 0; round < 300; round++) {
      const sources = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()] as const;
      for (const source of sources) {
        for (const { path } of numbers) if (below(3) === 0) source.set(path, 1 + below(16));
      }
      // Where a range begins later, so does the model's.
      const later = (path: string) => (path.endsWith("_bytes") ? 1024 : /_ms$|_messages$/.test(path) ? 100 : 0);
      for (const source of sources) for (const [path, value] of source) source.set(path, value + later(path));
      const [inFile, inEnvironment, inFlags] = sources;
      const named = (path: string) => numbers.find((item) => item.path === path);
      const { settings, origins } = good({
        file: Array.from(inFile, ([path, value]) => `${path} = ${value}\n`).join(""),
        env: Object.fromEntries(
          Array.from(inEnvironment, ([path, value]) => [named(path)?.variables[0] ?? "", `${value}`]),
        ),
        args: Array.from(inFlags, ([path, value]) => [named(path)?.flag ?? "", `${value}`]).flat(),
      });
      const flat = new Map(Object.entries(settings));
      for (const { path } of numbers) {
        const expected = inFlags.get(path) ?? inEnvironment.get(path) ?? inFile.get(path);
        const origin = inFlags.has(path)
          ? "flag"
          : inEnvironment.has(path)
            ? "environment"
            : inFile.has(path)
              ? "file"
              : "default";
        expect({ seed, path, origin: origins.get(path) }).toEqual({ seed, path, origin });
        if (expected !== undefined)
          expect({ seed, path, value: flat.get(path) }).toEqual({ seed, path, value: expected });
      }
    }
  });

  test("PORT is read where AMPER_PORT is not set, and only there", () => {
    expect(settingsOf({ env: { PORT: "8080" } }).port).toBe(8080);
    expect(settingsOf({ env: { PORT: "nonsense", AMPER_PORT: "1" } }).port).toBe(1);
    expect(problemsOf({ env: { PORT: "nonsense" } })).toEqual([
      'PORT must be a whole number from 0 to 65535, not "nonsense"',
    ]);
  });

  test("an empty variable is not set", () => {
    expect(settingsOf({ env: { AMPER_PORT: "", PORT: " ", AMPER_CONFIG: "", AMPER_NONSENSE: "" } }).port).toBe(3000);
  });

  test("every problem of every source is listed at once", () => {
    const problems = problemsOf({
      args: ["--prot=1", "--port=x"],
      env: { AMPER_PORT: "y", AMPER_HOST: "a b" },
      file: 'port = "z"\nlog_levl = "info"\n[keycloak]\nissuer = 5\nport = 1',
    });
    expect(problems).toEqual([
      "--prot is not a flag: did you mean --port?",
      "log_levl in amper.toml is not a known setting: did you mean log_level?",
      "keycloak.port in amper.toml is not a known setting: did you mean port? It has to stand above the first [table]",
      'AMPER_HOST must be a host name or an IP address, not "a b"',
      'port in amper.toml must be a whole number from 0 to 65535, not "z"',
      'AMPER_PORT must be a whole number from 0 to 65535, not "y"',
      '--port must be a whole number from 0 to 65535, not "x"',
      "keycloak.issuer in amper.toml must be a http(s) URL, not 5",
    ]);
  });
});

describe("flags", () => {
  test("--name value, --name=value, --switch, --switch=false, lists by comma and by repetition", () => {
    const args = [
      "--port",
      "1",
      "--host=h",
      "--metrics-open",
      "--require-bound-tokens=false",
      "--keycloak-clients=a,b",
      "--keycloak-clients",
      "c",
    ];
    expect(settingsOf({ args })).toMatchObject({ port: 1, host: "h", metrics_open: true, require_bound_tokens: false });
    expect(settingsOf({ args }).keycloak.clients).toEqual(["a", "b", "c"]);
    expect(settingsOf({ args: ["--port=1", "--port=2"] }).port).toBe(2);
  });

  test("what is no flag is a usage error with a hint, and is never repeated if it could be a secret", () => {
    const problems = (...args: string[]) => {
      const loaded = load({ args });
      expect(loaded).toMatchObject({ ok: false, isUsage: true });
      return loaded.ok ? [] : loaded.problems;
    };
    expect(problems("--keycloak_issuer", "https://kc")).toEqual([
      "--keycloak_issuer is not a flag: did you mean --keycloak-issuer?",
    ]);
    expect(problems("--no-metrics-open")).toEqual(["--no-metrics-open is not a flag: write --metrics-open=false"]);
    expect(problems("--metrics-open", "false")).toEqual([
      "argument 2 is not a flag: write --metrics-open=false, or --metrics-open alone",
    ]);
    expect(problems("port=3000")).toEqual(["argument 1 is not a flag: did you mean --port?"]);
    expect(problems("-p", "--", "x")).toHaveLength(3);
    expect(problems("--port")).toEqual(["--port needs a value: write --port=VALUE"]);
    expect(problems("--host", "--port=1")).toEqual(["--host needs a value: write --host=VALUE"]);
    expect(problems("--channels=msf")).toEqual(["--channels is not a flag: channels can only be set in the file"]);
    expect(problems("--api-keys=a=0123456789abcdef,", "b=s3cr3t0123456789").join()).not.toContain("s3cr3t");
    expect(load({ args: ["--port=x"] })).toMatchObject({ ok: false, isUsage: false });
  });
});

test("a hint recognises a wrong, missing, doubled or exchanged letter", () => {
  const hintFor = (name: string) => /did you mean (.*)\?/.exec(problemsOf({ file: `${name} = 1` }).join())?.[1];
  for (const typo of ["porf", "prt", "poort", "prot", "opRt"]) expect([typo, hintFor(typo)]).toEqual([typo, "port"]);
  for (const typo of ["tls_kye", "tlskey", "tls_ky"]) expect([typo, hintFor(typo)]).toEqual([typo, "tls_key"]);
  for (const typo of ["max_pollnig", "maxpoling"]) expect([typo, hintFor(typo)]).toEqual([typo, "max_polling"]);
  for (const other of ["home", "mode", "place", "env", "x"])
    expect([other, hintFor(other)]).toEqual([other, undefined]);
});

describe("environment", () => {
  const stray = { AMPER_TOKN_SECRET: "s3cr3t", AMPER_CHANNELS: "msf", AMPER_CORS: "x", AMPER_ZZZZZZ: "x" };
  const said = [
    "AMPER_TOKN_SECRET is not a known variable: did you mean AMPER_TOKEN_SECRET?",
    "AMPER_CHANNELS is not a known variable: channels can only be set in the file",
    "AMPER_CORS is not a known variable: did you mean AMPER_CORS_ORIGINS?",
    "AMPER_ZZZZZZ is not a known variable",
  ];

  test("an unknown variable warns, with a hint", () => {
    expect(load({ env: stray })).toMatchObject({ ok: true, warnings: said });
  });

  test("an unknown variable is a problem in strict mode", () => {
    expect(load({ env: stray, strict: true })).toMatchObject({ ok: false, problems: said, warnings: [] });
  });

  test("what Kubernetes and Docker inject for a service of our name is ignored", () => {
    const env = {
      AMPER_CHANNELS_PORT: "tcp://10.0.0.7:3000",
      AMPER_CHANNELS_SERVICE_HOST: "10.0.0.7",
      AMPER_CHANNELS_SERVICE_PORT: "3000",
      AMPER_CHANNELS_SERVICE_PORT_HTTP: "3000",
      AMPER_CHANNELS_PORT_3000_TCP: "tcp://10.0.0.7:3000",
      AMPER_CHANNELS_PORT_3000_TCP_ADDR: "10.0.0.7",
      AMPER_CHANNELS_PORT_3000_TCP_PORT: "3000",
      AMPER_CHANNELS_PORT_3000_TCP_PROTO: "tcp",
      AMPER_CHANNELS_NAME: "/web/amper-channels",
      AMPER_CHANNELS_ENV_PATH: "/bin",
      AMPER_PORT: "tcp://10.0.0.8:80",
      AMPER_SERVICE_HOST: "10.0.0.8",
    };
    expect(load({ env, strict: true })).toMatchObject({ ok: true, warnings: [], settings: { port: 3000 } });
    expect(warningsOf({ env: { AMPER_CHANNELS_PORT: "3000" } })).toEqual([
      "AMPER_CHANNELS_PORT is not a known variable: channels can only be set in the file",
    ]);
  });
});

const failing = (code: string) =>
  loadSettings({
    args: ["--config=x.toml", "--port=x"],
    env: {},
    readFile: () => {
      throw Object.assign(new Error("no"), { code });
    },
  });

describe("the file", () => {
  test("is named by --config, or else by AMPER_CONFIG", () => {
    const read: string[] = [];
    const readFile = (path: string) => {
      read.push(path);
      return "port = 1";
    };
    loadSettings({ args: ["--config", "flag.toml"], env: { AMPER_CONFIG: "env.toml" }, readFile });
    loadSettings({ args: [], env: { AMPER_CONFIG: "env.toml" }, readFile });
    loadSettings({ args: [], env: {}, readFile });
    expect(read).toEqual(["flag.toml", "env.toml"]);
  });

  test("that cannot be read, or is not TOML, is a problem next to the others", () => {
    expect(failing("ENOENT")).toMatchObject({
      problems: ["the settings file x.toml does not exist", expect.stringContaining("--port")],
    });
    expect(failing("EACCES")).toMatchObject({
      problems: ["the settings file x.toml may not be read by this user", expect.anything()],
    });
    expect(failing("EISDIR")).toMatchObject({
      problems: ["the settings file x.toml is a directory", expect.anything()],
    });
    expect(problemsOf({ file: "port = 1\nroles = [\n1]\nmetrics_token = s3cr3t\n" })).toEqual([
      "the settings file amper.toml is not TOML (line 4): Strings must be quoted: …",
    ]);
    expect(problemsOf({ file: "#".repeat(2_000_000) })[0]).toContain("is longer than 1048576 characters");
    expect(settingsOf({ file: "\uFEFFport = 7" }).port).toBe(7);
  });

  test("names that would pollute a prototype are only unknown names", () => {
    const file =
      "__proto__ = 1\nconstructor = 2\ntoString = 3\n[keycloak.__proto__]\npolluted = 1\n[api_keys.__proto__]\nkey = 'x'\n__proto__ = 1\n";
    expect(problemsOf({ file })).toEqual([
      "__proto__ in amper.toml is not a known setting",
      "constructor in amper.toml is not a known setting",
      "toString in amper.toml is not a known setting",
      "keycloak.__proto__ in amper.toml is not a known setting",
      "api_keys.__proto__.__proto__ in amper.toml is not a known name",
    ]);
    expect("polluted" in {}).toBe(false);
    expect(problemsOf({ file: "keycloak = 5" })).toEqual(["keycloak in amper.toml must be a table"]);
  });
});

const issuer = (url: string) => warningsOf({ env: { AMPER_KEYCLOAK_ISSUER: url } });

describe("warnings", () => {
  test("a short key, and a key with a wrong checksum", () => {
    const mistyped = `amper_${"A".repeat(43)}000000`;
    expect(
      warningsOf({ env: { AMPER_API_KEYS: `a=short,b=${mistyped},c=sha256:${digest("x")},d=0123456789abcdef` } }),
    ).toEqual([
      "AMPER_API_KEYS entry 1 is shorter than 16 characters and could be guessed",
      "AMPER_API_KEYS entry 2 has a wrong checksum: is it mistyped?",
    ]);
    expect(warningsOf({ file: '[ws_tokens.front]\ntoken = "short"' })).toEqual([
      "ws_tokens.front in amper.toml is shorter than 16 characters and could be guessed",
    ]);
    expect(warningsOf({ env: { AMPER_METRICS_TOKEN: "0123456789abcde" } })).toEqual([
      "AMPER_METRICS_TOKEN is shorter than 16 characters and could be guessed",
    ]);
    expect(warningsOf({ env: { AMPER_METRICS_TOKEN: "0123456789abcdef" } })).toEqual([]);
  });

  test("an issuer without TLS, unless it is on this machine", () => {
    expect(issuer("http://kc.example.com/realms/x")).toEqual([
      "AMPER_KEYCLOAK_ISSUER is not https: whoever is on the way can forge users",
    ]);
    expect(issuer("https://kc.example.com/realms/x")).toEqual([]);
    for (const host of ["localhost:8080", "127.0.0.1", "[::1]:8080"])
      expect(issuer(`http://${host}/realms/x`)).toEqual([]);
  });
});

const lacking = (env: Record<string, string>) => missing(settingsOf({ env })).map((problem) => problem.split(":")[0]);

test("without an API key, or without a way to authorize, it is said what to do", () => {
  expect(lacking({})).toEqual(["no API key", "no way to authorize"]);
  expect(lacking({ AMPER_API_KEYS: "a=0123456789abcdef" })).toEqual(["no way to authorize"]);
  expect(lacking({ AMPER_API_KEYS: "a=0123456789abcdef", AMPER_WS_TOKENS: "b=0123456789abcdef" })).toEqual([]);
  expect(lacking({ AMPER_API_KEYS: "a=0123456789abcdef", AMPER_KEYCLOAK_ISSUER: "https://kc/realms/x" })).toEqual([]);
});

describe("secrets", () => {
  test("never show, in whatever form they are given, good or bad", async () => {
    const { seed, below, text } = randomly();
    for (let round = 0; round < 200; round++) {
      const secret = `S3${text(4 + below(50))}`;
      const wrong = ["", " ", "\u0007", "=", ","][below(5)] ?? "";
      const given = `${secret}${wrong}${secret}`;
      const quoted = JSON.stringify(given);
      const cases: readonly Case[] = [
        {
          env: {
            AMPER_API_KEYS: `a=${given}`,
            AMPER_WS_TOKENS: `a=${given}`,
            AMPER_TOKEN_SECRET: given,
            AMPER_METRICS_TOKEN: given,
          },
        },
        {
          env: {
            AMPER_API_KEYS: given,
            AMPER_WS_TOKENS: `=${given}`,
            AMPER_JOURNAL: `redis://:${given}@h`,
            AMPER_TOKEN_SECRETS: given,
          },
        },
        {
          env: {
            AMPER_KEYCLOAK_ISSUER: `https://u:${secret}@h`,
            AMPER_CORS_ORIGINS: `https://${secret}@h`,
            AMPER_KEYCLOAK_JWKS_URL: `//${secret}@h`,
          },
        },
        {
          args: [
            "--api-keys",
            `a=${given}`,
            given,
            `-${given}`,
            "--metrics-token",
            given,
            "--metrics-tokn",
            given,
            `--token-secrt=${given}`,
          ],
        },
        {
          file: `api_keys = [${quoted}, "b=${secret}", { name = "c", key = ${quoted} }, { name = 5, key = ${quoted} }, [${quoted}]]`,
        },
        {
          file: `token_secret = ${quoted}\nmetrics_token = [${quoted}]\njournal = ${quoted}\nmetrics_tokn = ${quoted}`,
        },
        { file: `[ws_tokens.a]\ntoken = ${quoted}\nexpires_at = ${quoted}\nchannels = ${quoted}\nadmin = ${quoted}` },
        { file: `metrics_token = ${secret}\n` },
        { file: `metrics_token = "${secret}\n` },
        { file: `metrics_token = "${secret}"\n"${secret}" = 1\n"${secret}" = 2\n` },
      ];
      for (const one of cases) {
        const { out, err } = await run(one.strict === true ? ["--strict"] : [], one);
        const loaded = load(one);
        const shown = [out, err, ...loaded.warnings, ...(loaded.ok ? [printout(loaded)] : loaded.problems)].join("\n");
        expect({ seed, leaks: shown.includes(secret) || shown.includes(digest(secret)) ? shown : "" }).toEqual({
          seed,
          leaks: "",
        });
      }
    }
  });

  test("a key of our own making never shows, even where a name should be", () => {
    const key = `amper_${"A".repeat(49)}`;
    const files = [
      `[api_keys.${key}]\nkey = "orders"`,
      `[${key}]\na = 1`,
      `[api_keys]\n${key} = "orders"`,
      `host = "@${key} "\nport = "${key}"`,
    ];
    for (const file of files) {
      expect(problemsOf({ file }).length).toBeGreaterThan(0);
      expect(problemsOf({ file }).join()).not.toContain(key);
    }
    expect(problemsOf({ env: { AMPER_API_KEYS: `${key}=orders` } })).toEqual([
      "AMPER_API_KEYS entry 1 has a key where its name should be: write name=key",
    ]);
  });

  test("a setting is secret unless it is marked public", () => {
    const unmarked = items.filter(({ about }) => about.public !== true).map(({ path }) => path);
    expect(unmarked).toEqual(["api_keys", "ws_tokens", "token_secret", "journal", "metrics_token"]);
  });
});

describe("descriptions", () => {
  test("the printout has every setting with its origin, and keys by name and rights", () => {
    const file = `
      token_secret = "${"x".repeat(32)}"
      [api_keys.orders]
      key = "0123456789abcdef"
      channels = ["msf"]
      rate_per_second = 0.5
      burst = 10
      expires_at = 2027-01-01T00:00:00Z
      [channels.msf]
      roles = ["msf-user"]
      [channels.b2b]`;
    const lines = printout(good({ file, args: ["--port=0"], env: { AMPER_METRICS_TOKEN: "x" } })).split("\n");
    expect(lines).toContain("port = 0  (flag)");
    expect(lines).toContain("token_secret = (set)  (file)");
    expect(lines).toContain("metrics_token = (set)  (environment)");
    expect(lines).toContain("ws_tokens = (not set)  (default)");
    expect(lines).toContain(
      "api_keys = orders (channels msf, 0.5 per second, 10 at once, until 2027-01-01T00:00:00.000Z)  (file)",
    );
    expect(lines).toContain("channels = msf (roles msf-user), b2b (open to every user)  (file)");
    expect(lines).toContain("journal = sqlite:amper-channels.db  (default)");
    expect(lines).toContain("keycloak.algorithms = RS256, PS256, ES256  (default)");
    expect(lines).toHaveLength(items.length + 1);
  });

  test("help and table have every setting, and the table is as prettier has it", () => {
    for (const { path, flag, variables } of items) {
      expect(settingsTable()).toContain(`| \`${path}\` `);
      for (const variable of variables) expect(settingsTable() + settingsHelp()).toContain(variable);
      if (variables.length > 0) expect(settingsHelp()).toContain(`  ${flag}`);
    }
    const formatted = Bun.spawnSync([process.execPath, "x", "prettier", "--stdin-filepath=table.md"], {
      stdin: Buffer.from(settingsTable()),
    });
    expect(formatted.stdout.toString()).toBe(settingsTable());
  });
});

async function run(args: readonly string[], { args: more = [], env = {}, file }: Case) {
  const written = { out: "", err: "" };
  const out = spyOn(process.stdout, "write").mockImplementation((text) => ((written.out += String(text)), true));
  const err = spyOn(process.stderr, "write").mockImplementation((text) => ((written.err += String(text)), true));
  try {
    const code = await check([...args, ...more], (rest) => ({
      args: file === undefined ? rest : ["--config=amper.toml", ...rest],
      env,
      readFile: () => file ?? "",
    }));
    return { code, ...written };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

describe("amper-channels check", () => {
  const env = { AMPER_API_KEYS: "a=0123456789abcdef", AMPER_WS_TOKENS: "b=0123456789abcdef" };

  test("prints the settings and exits with 0 if they are good", async () => {
    expect(await run([], { env })).toEqual({ code: 0, out: printout(good({ env })), err: "" });
  });

  test("exits with 1 and lists problems, with what the service lacks", async () => {
    expect(await run([], { env: { ...env, AMPER_PORT: "x" } })).toMatchObject({
      code: 1,
      err: expect.stringContaining("problem: AMPER_PORT must be"),
    });
    expect(await run([], {})).toMatchObject({
      code: 1,
      err: expect.stringMatching(/problem: no API key.*\nproblem: no way to authorize/),
    });
  });

  test("warnings count only with --strict", async () => {
    const warned = { env: { ...env, AMPER_NONSENSE: "1" } };
    expect(await run([], warned)).toMatchObject({ code: 0, err: "warning: AMPER_NONSENSE is not a known variable\n" });
    expect(await run(["--strict"], warned)).toMatchObject({
      code: 1,
      err: "problem: AMPER_NONSENSE is not a known variable\n",
    });
    const short = { env: { ...env, AMPER_API_KEYS: "a=short" } };
    expect((await run([], short)).code).toBe(0);
    expect(await run(["--strict"], short)).toMatchObject({
      code: 1,
      err: expect.stringContaining("warning: AMPER_API_KEYS entry 1"),
    });
  });

  test("exits with 2 if it is called wrongly", async () => {
    expect(await run(["--sctrict"], { env })).toMatchObject({
      code: 2,
      err: expect.stringContaining("See `amper-channels check --help`"),
    });
    expect((await run(["stray"], { env })).code).toBe(2);
    expect(await run(["--help"], {})).toMatchObject({ code: 0, out: expect.stringContaining("--strict"), err: "" });
  });
});
