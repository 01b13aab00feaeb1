import * as v from "valibot";
import { Channel, KeycloakId } from "../model/names.ts";
import { Problem, type FieldError } from "../model/problem.ts";

const longestList = 1000;
const longestTtl_seconds = 7 * 24 * 60 * 60;
const deepestJson = 64;

/** A name, or a list of names: always parsed to a list that names nothing twice. */
function oneOrMore<T>(name: v.GenericSchema<unknown, T>) {
  const list = v.pipe(
    v.array(name),
    v.minLength(1, "an empty list names nobody"),
    v.maxLength(longestList, `a list has at most ${longestList} names`),
    v.transform((names) => [...new Set(names)]),
  );
  const one = v.pipe(
    name,
    v.transform((value) => [value]),
  );
  return v.lazy((input) => (Array.isArray(input) ? list : one));
}

/**
 * The body of `POST /notify`, without its key. Strict, and `null` is not "absent": a misspelt `chanel`, or a user id that
 * a backend's bug left empty, would otherwise send a private message to everyone.
 */
const Body = v.pipe(
  v.strictObject({
    msg: v.unknown(),
    keycloak: v.optional(oneOrMore(KeycloakId)),
    channel: v.optional(oneOrMore(Channel)),
    ttl: v.optional(
      v.pipe(
        v.number("ttl is a number of seconds"),
        v.integer("ttl is a whole number of seconds"),
        v.minValue(0, "ttl cannot be negative"),
        v.maxValue(longestTtl_seconds, "ttl is at most 604800 seconds, 7 days"),
      ),
      0,
    ),
  }),
  v.forward(
    v.check(({ ttl, keycloak }) => ttl === 0 || keycloak !== undefined, "a ttl needs the keycloak to hold it for"),
    ["ttl"],
  ),
  v.check((body) => body.keycloak !== undefined || body.channel !== undefined, "name a channel, a keycloak, or both"),
);
export type Body = v.InferOutput<typeof Body>;

/** Parses JSON that is not deeper than `deepestJson`: `JSON.stringify` throws on the way out of what `JSON.parse` let in. */
export function parseJson(text: string): unknown {
  if (isDeep(text)) {
    throw new Problem("invalid_body", { detail: `The body is nested deeper than ${deepestJson} levels.` });
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem("invalid_json");
  }
}

/** Takes the key out of a body, so that the rest can be judged after it. */
export function splitKey(body: unknown): { apiKey: unknown; rest: unknown } {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return { apiKey: undefined, rest: body };
  const { API_KEY: apiKey, ...rest }: { API_KEY?: unknown } = body;
  return { apiKey, rest };
}

export function parseBody(body: unknown): Body {
  const result = v.safeParse(Body, body);
  if (result.success) return result.output;
  throw new Problem("invalid_body", { errors: result.issues.map(toFieldError) });
}

function toFieldError(issue: v.BaseIssue<unknown>): FieldError {
  const path = v.getDotPath(issue) ?? "";
  if (issue.type !== "strict_object") return { path, message: issue.message };
  if (path === "") return { path, message: "the body must be a JSON object" };
  return { path, message: issue.expected === "never" ? "there is no such field" : "is missing" };
}

/** Counts brackets outside of strings, in one pass and without recursion. */
function isDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (inString) {
      if (char === 0x5c /* \ */) i++;
      else if (char === 0x22 /* " */) inString = false;
    } else if (char === 0x22) inString = true;
    else if (char === 0x5b /* [ */ || char === 0x7b /* { */) {
      if (++depth > deepestJson) return true;
    } else if (char === 0x5d /* ] */ || char === 0x7d /* } */) depth--;
  }
  return false;
}
