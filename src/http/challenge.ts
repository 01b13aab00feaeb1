import { problems, type ProblemCode } from "../model/problem.ts";
import { bearer } from "./credentials.ts";

/** What was wrong with a token of the header Authorization (RFC 6750 3.1). Codes that are not here say nothing about a token. */
const errors: Partial<Record<ProblemCode, "invalid_token" | "insufficient_scope">> = {
  token_invalid: "invalid_token",
  api_key_invalid: "invalid_token",
  metrics_token_invalid: "invalid_token",
  channel_forbidden: "insufficient_scope",
  no_channel: "insufficient_scope",
  admin_required: "insufficient_scope",
};

/** A header may not grow with what a request names: a longer detail stands in the body only. */
const longestDescription = 400;

/**
 * The header WWW-Authenticate of a refusal, or undefined: each 401 has one (RFC 9110 15.5.2). It carries an error code only
 * where the request brought a token as this scheme sends it, not where it brought none, a key in another place, or a login of
 * another scheme (RFC 6750 3.1): a client that reads `invalid_token` throws away a token that it has never sent.
 */
export function challengeOf(code: ProblemCode, detail: string, request: Headers): string | undefined {
  const { status, title } = problems[code];
  const error = bearer(request) === undefined ? undefined : errors[code];
  // RFC 6750 section 3: the scheme is followed by one parameter at least.
  if (error === undefined) return status === 401 ? 'Bearer realm="amper-channels"' : undefined;
  const described = detail.length > longestDescription ? title : detail;
  // RFC 6750 section 3: neither quotes nor anything beyond ASCII in an error_description.
  const description = described.replaceAll(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'");
  return `Bearer error="${error}", error_description="${description}"`;
}
