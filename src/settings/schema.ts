import * as v from "valibot";
import { ApiKeys, doubtsAboutKeys, hasKeys, showCredentials, TokenSecrets, WsTokens } from "./credentials.ts";
import { doubtAboutLength, headerSafe, headerSafeRule } from "./key-format.ts";
import { limits } from "./limits.ts";
import { doubtsAboutOrigins, origin } from "./origin.ts";
import { doubtsAboutRoles } from "./roles.ts";
import { ChannelRules, keycloak, showChannelRules } from "./rules.ts";
import { itemsOf, optional, setting, type Entries, type Item } from "./setting.ts";
import { basePath, bytes, flag, JournalUrl, listOrAll, text, wholeNumber } from "./values.ts";

/** The one source of names, types, defaults, environment variables, flags, help and documentation. */
export const Settings = v.pipe(
  v.object({
    host: setting(text("must be a host name or an IP address", /^[A-Za-z0-9.:_%-]{1,255}$/), "0.0.0.0", {
      description: "address to listen on",
      public: true,
    }),
    port: setting(wholeNumber(0, 65_535), 3000, {
      description: "port to listen on; 0: any free port",
      public: true,
      alsoReads: ["PORT"],
    }),
    base_path: setting(basePath, "", {
      description: "path below which everything is, such as /notifications, for a proxy that does not strip it",
      public: true,
    }),
    api_keys: setting(ApiKeys, [], {
      description: "keys of the backends that call /notify: name=key or name=sha256:HEX",
      list: true,
      show: showCredentials,
      isSecret: (given) => hasKeys(given, "key"),
      doubts: (_, given) => doubtsAboutKeys(given, "key"),
    }),
    ws_tokens: setting(WsTokens, [], {
      description: "tokens with which front services call /authorize: name=token or name=sha256:HEX",
      list: true,
      show: showCredentials,
      isSecret: (given) => hasKeys(given, "token"),
      doubts: (_, given) => doubtsAboutKeys(given, "token"),
    }),
    token_secret: setting(TokenSecrets, [], {
      description: "secrets of websocket tokens: the first signs, all verify; at least 32 bytes each",
      list: true,
    }),
    token_ttl_seconds: setting(wholeNumber(1, 30 * 86_400), 36_000, {
      description: "how long a websocket token is valid",
      public: true,
    }),
    require_bound_tokens: setting(flag, false, {
      description: "refuse websocket tokens that are not bound to a user",
      public: true,
    }),
    keycloak,
    clock_tolerance_seconds: setting(wholeNumber(0, 300), 5, {
      description:
        "how far the clocks of Keycloak and the service may differ; for exp, nbf and iat of Keycloak's tokens",
      public: true,
    }),
    logout_ends_unlinked: setting(flag, true, {
      description: "a logout with sid and sub also ends that user's tokens without a session; sid alone cannot",
      public: true,
    }),
    channels: optional(ChannelRules, {
      description: "[channels.NAME]: roles and clients that may use the channel; none: every user may use any channel",
      public: true,
      fileOnly: true,
      show: showChannelRules,
      doubts: (_, given) => doubtsAboutRoles(given),
    }),
    // Not public: a Redis URL has a password.
    journal: setting(JournalUrl, "sqlite:amper-channels.db", {
      description: "where notifications are kept: sqlite:PATH, or memory: for trials",
      isSecret: () => false,
      show: (journal) => (journal.kind === "sqlite" ? `sqlite:${journal.path}` : `${journal.kind}:`),
    }),
    journal_window_seconds: setting(wholeNumber(1, 7 * 86_400), 300, {
      description: "how long a notification can be replayed to a connection that comes back",
      public: true,
    }),
    journal_window_bytes: setting(bytes("64 GiB"), "64 MiB", {
      description: "memory for notifications that can be replayed to connections that come back",
      public: true,
    }),
    journal_sync: setting(v.picklist(["normal", "full"], "must be normal or full"), "normal", {
      description: "crashes that an accepted notification survives; normal: of the process; full: of the machine, too",
      public: true,
    }),
    takeover_seconds: setting(wholeNumber(0, 3600), 30, {
      description: "how long a start waits for another process to release the journal",
      public: true,
    }),
    idempotency_hours: setting(wholeNumber(1, 7 * 24), 24, {
      description: "how long the answer to an Idempotency-Key is kept",
      public: true,
    }),
    max_idempotency_bytes: setting(bytes("64 GiB", "1 MiB"), "256 MiB", {
      description: "largest size of all answers kept for Idempotency-Keys; the oldest are forgotten first",
      public: true,
    }),
    max_held_per_user: setting(wholeNumber(1, 100_000), 100, {
      description: "most held notifications (sent with a ttl) of one user",
      public: true,
    }),
    max_held: setting(wholeNumber(1, 10_000_000), 100_000, {
      description: "most held notifications (sent with a ttl) of all users together",
      public: true,
    }),
    max_held_bytes: setting(bytes("64 GiB"), "64 MiB", {
      description: "largest size of all held notifications; of one user's: a quarter of backlog_bytes",
      public: true,
    }),
    cors_origins: setting(listOrAll(origin), "*", {
      description: "origins whose pages may connect, such as https://app.example.com, https://*.example.com; *: all",
      public: true,
      list: true,
      doubts: doubtsAboutOrigins,
    }),
    trust_proxy_hops: setting(wholeNumber(0, 16), 0, {
      description: "number of proxies in front that add to X-Forwarded-For",
      public: true,
    }),
    // What a timeout of Bun takes at most is 255.
    keep_alive_seconds: setting(wholeNumber(1, 240), 75, {
      description:
        "how long idle HTTP connections of declared proxies, and of senders of a valid key or token, are kept",
      public: true,
    }),
    ...limits,
    drain_seconds: setting(wholeNumber(0, 3600), 10, {
      description:
        "time over which connections are sent to a successor that waits for the journal, or for new tokens after a reload",
      public: true,
    }),
    tls_cert: optional(text("must be a path", /^\P{Cc}+$/u), {
      description: "certificate chain (PEM file); needs tls_key",
      public: true,
    }),
    tls_key: optional(text("must be a path", /^\P{Cc}+$/u), {
      description: "private key of tls_cert (PEM file)",
      public: true,
    }),
    metrics_token: optional(text(`must be a text of ${headerSafeRule}`, headerSafe), {
      description:
        "token that may read /metrics; none: this machine only, while host is loopback and trust_proxy_hops 0",
      doubts(given) {
        const doubt = doubtAboutLength(given);
        return doubt === undefined ? [] : [{ place: [], doubt }];
      },
    }),
    metrics_open: setting(flag, false, {
      description: "let everybody read /metrics, without a token",
      public: true,
    }),
    log_level: setting(
      v.picklist(["silent", "error", "warn", "info", "debug"], "must be silent, error, warn, info or debug"),
      "info",
      { description: "least severe level to log: silent, error, warn, info or debug", public: true },
    ),
  }),
  v.readonly(),
);

export type Settings = v.InferOutput<typeof Settings>;

const entries: Entries = Settings.entries;

/** Every setting with its names, in the order of the schema. */
export const items: readonly Item[] = itemsOf(entries);

/** Names of the tables that have settings in them. */
export const groups: readonly string[] = Object.keys(entries).filter(
  (name) => !items.some(({ path }) => path === name),
);

/** The place of the settings file. The file cannot say it, so it is not a setting. */
export const configuration = {
  flag: "--config",
  variable: "AMPER_CONFIG",
  description: "settings file (TOML)",
} as const;
