import { setting } from "./setting.ts";
import { bytes, wholeNumber } from "./values.ts";

/** How much of everything, and how often: what a stranger, a careless backend or a curious user could otherwise exhaust. */
export const limits = {
  max_body_bytes: setting(bytes("64 MiB"), 65_536, {
    description: "largest body of a request",
    public: true,
  }),
  max_url_bytes: setting(bytes("16 KiB", "1 KiB"), 8192, {
    description: "longest path of a request, with its query",
    public: true,
  }),
  // Bun answers 431 itself beyond 16 KiB, the line of the request included.
  max_header_bytes: setting(bytes("16 KiB", "1 KiB"), 16_384, {
    description: "what the headers of a request may have together",
    public: true,
  }),
  max_json_depth: setting(wholeNumber(1, 1000), 64, {
    description: "how deep the JSON of a body may be nested",
    public: true,
  }),
  max_list_length: setting(wholeNumber(1, 100_000), 1000, {
    description: "names in a list of a body",
    public: true,
  }),
  notify_rate_per_second: setting(wholeNumber(1, 1_000_000), 10_000, {
    description: "notifications of one API key that has no rate of its own",
    public: true,
  }),
  notify_burst: setting(wholeNumber(1, 10_000_000), 20_000, {
    description: "how many of them at once",
    public: true,
  }),
  authorize_rate_per_second: setting(wholeNumber(1, 1_000_000), 500, {
    description: "calls of /authorize from one address, and as many of /backchannel-logout",
    public: true,
  }),
  authorize_burst: setting(wholeNumber(1, 10_000_000), 10_000, {
    description: "how many of them at once",
    public: true,
  }),
  handshake_rate_per_second: setting(wholeNumber(1, 1_000_000), 500, {
    description: "new connections from one address",
    public: true,
  }),
  handshake_burst: setting(wholeNumber(1, 10_000_000), 10_000, {
    description: "how many of them at once",
    public: true,
  }),
  auth_failures_per_minute: setting(wholeNumber(1, 1_000_000), 100, {
    description: "bad keys and tokens from one address, before it has to wait",
    public: true,
  }),
  max_connections: setting(wholeNumber(1, 10_000_000), 100_000, {
    description: "connections in all",
    public: true,
  }),
  max_connections_per_user: setting(wholeNumber(1, 100_000), 50, {
    description: "connections of one user",
    public: true,
  }),
  max_connections_per_address: setting(wholeNumber(1, 10_000_000), 20_000, {
    description: "connections from one address",
    public: true,
  }),
  max_polling: setting(wholeNumber(1, 10_000_000), 20_000, {
    description: "connections that poll",
    public: true,
  }),
  max_unauthenticated: setting(wholeNumber(1, 10_000_000), 10_000, {
    description: "connections that have not authenticated yet; the oldest makes way",
    public: true,
  }),
  max_unauthenticated_per_address: setting(wholeNumber(1, 10_000_000), 5000, {
    description: "the same from one address",
    public: true,
  }),
  backlog_bytes: setting(bytes("1 GiB"), "1 MiB", {
    description: "how far a connection may lag before it is closed",
    public: true,
  }),
  max_client_messages: setting(wholeNumber(10, 1_000_000), 100, {
    description: "what a client may send between two heartbeats before it is closed",
    public: true,
  }),
  // Room for a token that is far too long, so that it is refused as such.
  max_client_bytes: setting(bytes("64 MiB", "1 KiB"), "128 KiB", {
    description: "the same in bytes; one message: at most 1000000",
    public: true,
  }),
  connect_timeout_ms: setting(wholeNumber(100, 300_000), 10_000, {
    description: "time to authenticate after the handshake",
    public: true,
  }),
  ping_interval_ms: setting(wholeNumber(100, 120_000), 25_000, {
    description: "time between heartbeats",
    public: true,
  }),
  ping_timeout_ms: setting(wholeNumber(100, 300_000), 20_000, {
    description: "time to answer one",
    public: true,
  }),
};
