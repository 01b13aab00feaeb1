/**
 * Every error that an HTTP answer can carry (RFC 9457). A handler throws `new Problem(code)`; `http/respond.ts` makes the
 * answer. `title` is fixed for a code; `detail` may say more, in words for the caller, never an internal message.
 */
export const problems = {
  invalid_json: { status: 400, title: "The body is not JSON" },
  invalid_body: { status: 400, title: "The body is not what this endpoint takes" },
  logout_token_invalid: { status: 400, title: "The logout token is missing or not valid" },
  invalid_request: { status: 400, title: "The request is not valid" },
  token_invalid: { status: 401, title: "The token is missing or not valid" },
  api_key_invalid: { status: 401, title: "The API key is missing or not valid" },
  metrics_token_invalid: { status: 401, title: "The metrics token is missing or not valid" },
  channel_forbidden: { status: 403, title: "The channel is not allowed" },
  no_channel: { status: 403, title: "The user has no channel" },
  unbound_forbidden: { status: 403, title: "The token has to be bound to a user" },
  admin_required: { status: 403, title: "Only an admin key may do this" },
  origin_forbidden: { status: 403, title: "The origin is not allowed" },
  metrics_forbidden: { status: 403, title: "Metrics are not open to this address" },
  not_found: { status: 404, title: "There is nothing at this address" },
  method_not_allowed: { status: 405, title: "The method is not allowed here" },
  too_large: { status: 413, title: "The body is too large" },
  uri_too_long: { status: 414, title: "The address of the request is too long" },
  unsupported_media_type: { status: 415, title: "The body is of a type that is not taken here" },
  idempotency_mismatch: { status: 422, title: "This Idempotency-Key was used for another notification" },
  headers_too_large: { status: 431, title: "The headers of the request are too large" },
  rate_limited: { status: 429, title: "Too many requests" },
  held_full: { status: 429, title: "As much is held as the service takes" },
  internal: { status: 500, title: "Something went wrong on our side" },
  unavailable: { status: 503, title: "The service cannot do this right now" },
  overloaded: { status: 503, title: "The service has as much to do as it takes" },
  draining: { status: 503, title: "The service is shutting down" },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof problems;

/** One thing wrong with a body: `path` is the field (`channel.1`), `message` a sentence. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

export interface ProblemExtras {
  /** One or two sentences for the caller. Defaults to the title. */
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  readonly headers?: Readonly<Record<string, string>>;
  /** More members of the problem object (RFC 9457 section 3.2). */
  readonly members?: Readonly<Record<string, unknown>>;
}

export class Problem extends Error {
  override readonly name: string = "Problem";
  readonly code: ProblemCode;
  readonly extras: ProblemExtras;

  constructor(code: ProblemCode, extras: ProblemExtras = {}) {
    super(extras.detail ?? problems[code].title);
    this.code = code;
    this.extras = extras;
  }
}

/**
 * A credential that was never issued: its sender may be trying some out, so it counts against the address that it came from,
 * and the answer is `rate_limited` where that has brought too many. A missing credential, and a genuine one that is refused for another reason, are plain problems.
 */
export class Guess extends Problem {
  override readonly name = "Guess";
}
