import { expect } from "bun:test";
import * as v from "valibot";
import { problems, type ProblemCode } from "../../src/model/problem.ts";

const Body = v.object({
  type: v.string(),
  title: v.string(),
  status: v.number(),
  code: v.string(),
  detail: v.pipe(v.string(), v.minLength(5)),
  errors: v.optional(v.array(v.object({ path: v.string(), message: v.string() }))),
  reasons: v.optional(v.array(v.string())),
});

/** Expects an RFC 9457 answer with this code, and returns its body. */
export async function expectProblem(response: Response, code: ProblemCode): Promise<v.InferOutput<typeof Body>> {
  const body = v.parse(Body, await response.json());
  expect(body).toMatchObject({ code, ...problems[code] });
  expect(response.status).toBe(problems[code].status);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
  return body;
}
