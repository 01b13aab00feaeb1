import { expect } from "bun:test";
import * as v from "valibot";
import { problems, type ProblemCode } from "../../src/model/problem.ts";
import type { Answer } from "./raw.ts";

/** The body of a refusal (RFC 9457), and nothing else in it. */
export const Problem = v.strictObject({
  type: v.string(),
  title: v.string(),
  status: v.number(),
  code: v.string(),
  detail: v.pipe(v.string(), v.minLength(5)),
  errors: v.optional(v.array(v.strictObject({ path: v.string(), message: v.string() }))),
  reasons: v.optional(v.array(v.string())),
  // As OpenID Connect Back-Channel Logout 1.0 (2.8) asks for it.
  error: v.optional(v.literal("invalid_request")),
  error_description: v.optional(v.string()),
});

/** Expects an RFC 9457 answer with this code, and returns its body. */
export async function expectProblem(response: Response, code: ProblemCode): Promise<v.InferOutput<typeof Problem>> {
  const body = v.parse(Problem, await response.json());
  expect(body).toMatchObject({ code, ...problems[code] });
  expect(response.status).toBe(problems[code].status);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
  return body;
}

/** Statuses that Bun gives to what it cannot read, with an empty body. */
const bare = new Set([400, 413, 426, 431, 505]);

/** What is wrong with an answer to something odd, or null: it is no problem of the catalog, or one that only a bug explains. */
export function flawOfProblem({ status, headers, body }: Answer, isHead = false): string | null {
  if (status < 400) return null;
  if (!headers.has("x-request-id")) return bare.has(status) && body === "" ? null : `a bare ${status}: ${body}`;
  if (status >= 500) return `${status}: ${body}`;
  if (headers.get("content-type") !== "application/problem+json") return `not a problem: ${status} ${body}`;
  if (isHead) return null;
  const { success, output } = v.safeParse(v.pipe(v.string(), v.parseJson(), Problem), body);
  if (!success) return `not a problem: ${body}`;
  const { title, type, code, error } = output;
  if ((error !== undefined) !== (code === "logout_token_invalid")) return `not as OpenID asks for it: ${body}`;
  const known = Object.entries(problems).find(([name]) => name === code)?.[1];
  const isDocumented = known?.status === status && output.status === status && known.title === title;
  return isDocumented && type === `urn:amper-channels:problem:${code}` ? null : `not a documented problem: ${body}`;
}
