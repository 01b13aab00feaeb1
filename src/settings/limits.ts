import { setting } from "./setting.ts";
import { bytes, wholeNumber } from "./values.ts";

/** A websocket token of 4 KiB, and the other fields of `auth`. */
const longestConnect_bytes = 8192;

/** Bounds everything that a stranger, a careless backend or a curious user could exhaust: sizes, counts, rates and waits. */
export const limits = {
  max_body_bytes: setting(bytes("64 MiB"), 65_536, {
    description: "largest body of a request",
    public: true,
  }),
  max_unfinished_bytes: setting(bytes("64 GiB", "64 KiB"), "64 MiB", {
    description:
      "most bytes of bodies that are still being received; more of them end the oldest of the address with most",
    public: true,
  }),
  max_url_bytes: setting(bytes("16 KiB", "1 KiB"), 8192, {
    description: "longest path of a request, with its query",
    public: true,
  }),
  max_header_bytes: setting(bytes("64 KiB", "1 KiB"), 16_384, {
    description: "largest size of all headers of a request",
    public: true,
  }),
  max_json_depth: setting(wholeNumber(1, 1000), 64, {
    description: "deepest nesting of JSON in the body of a request",
    public: true,
  }),
  max_list_length: setting(wholeNumber(1, 100_000), 1000, {
    description: "longest list of names in the body of a request",
    public: true,
  }),
  notify_rate_per_second: setting(wholeNumber(1, 1_000_000), 10_000, {
    description: "notifications per second of one API key that has no rate of its own",
    public: true,
  }),
  notify_burst: setting(wholeNumber(1, 10_000_000), 20_000, {
    description: "notifications that one API key may send at once (burst of notify_rate_per_second)",
    public: true,
  }),
  authorize_rate_per_second: setting(wholeNumber(1, 1_000_000), 500, {
    description: "calls per second of /authorize from one address, and as many of /backchannel-logout",
    public: true,
  }),
  authorize_burst: setting(wholeNumber(1, 10_000_000), 10_000, {
    description: "calls of /authorize at once from one address (burst of authorize_rate_per_second)",
    public: true,
  }),
  handshake_rate_per_second: setting(wholeNumber(1, 1_000_000), 500, {
    description: "new connections per second from one address",
    public: true,
  }),
  handshake_burst: setting(wholeNumber(1, 10_000_000), 10_000, {
    description: "new connections at once from one address (burst of handshake_rate_per_second)",
    public: true,
  }),
  auth_failures_per_minute: setting(wholeNumber(1, 1_000_000), 100, {
    description: "bad keys and tokens per minute from one address; further bad ones are answered 429",
    public: true,
  }),
  max_connections: setting(wholeNumber(1, 10_000_000), 100_000, {
    description: "most connections in all, authenticated or not",
    public: true,
  }),
  max_connections_per_user: setting(wholeNumber(1, 100_000), 50, {
    description: "most connections of one user",
    public: true,
  }),
  max_connections_per_address: setting(wholeNumber(1, 10_000_000), 20_000, {
    description: "most connections from one address",
    public: true,
  }),
  max_polling: setting(wholeNumber(1, 10_000_000), 20_000, {
    description: "most connections that use HTTP long-polling",
    public: true,
  }),
  max_polling_per_address: setting(wholeNumber(1, 10_000_000), 5000, {
    description: "most connections from one address that use HTTP long-polling",
    public: true,
  }),
  max_unauthenticated: setting(wholeNumber(1, 10_000_000), 10_000, {
    description: "most connections that have not authenticated yet; one more ends the oldest",
    public: true,
  }),
  max_unauthenticated_per_address: setting(wholeNumber(1, 10_000_000), 2500, {
    description: "most connections from one address that have not authenticated yet; one more ends its oldest",
    public: true,
  }),
  backlog_bytes: setting(bytes("1 GiB"), "1 MiB", {
    description: "most unsent bytes of a connection; more of them close it",
    public: true,
  }),
  backlog_total_bytes: setting(bytes("64 GiB"), "256 MiB", {
    description: "most unsent bytes of all connections; more of them close the connection that has most",
    public: true,
  }),
  max_client_messages: setting(wholeNumber(10, 1_000_000), 100, {
    description: "most messages from a client between two heartbeats; one more closes the connection",
    public: true,
  }),
  // Bun tells of no message before it is whole: what strangers can make it keep is the longest one for each of them.
  max_client_bytes: setting(bytes("64 MiB", "1 KiB"), "8 KiB", {
    description: "most bytes from a client between two heartbeats; of one message: never more than 1000000",
    public: true,
    doubts: (given) =>
      given < longestConnect_bytes ? [{ place: [], doubt: "is less than what a CONNECT may need: 8 KiB" }] : [],
  }),
  connect_timeout_ms: setting(wholeNumber(100, 300_000), 10_000, {
    description: "time that a new connection has to authenticate",
    public: true,
  }),
  ping_interval_ms: setting(wholeNumber(100, 120_000), 25_000, {
    description: "time between two heartbeats of a connection",
    public: true,
  }),
  ping_timeout_ms: setting(wholeNumber(100, 300_000), 20_000, {
    description: "time that a client has to answer a heartbeat",
    public: true,
  }),
};
