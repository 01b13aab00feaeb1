import * as v from "valibot";
import { Channel, KeycloakId } from "../model/names.ts";
import { Problem, type FieldError } from "../model/problem.ts";
import type { Settings } from "../settings/schema.ts";

/** An answer has so many: a list of a thousand bad names would make one of a hundred KiB. */
const mostErrors = 20;
const longestTtl_seconds = 7 * 24 * 60 * 60;

export type BodyLimits = Pick<Settings, "max_json_depth" | "max_list_length">;

/** A name, or a list of names: always parsed to a list that names nothing twice. */
function oneOrMore<T>(name: v.GenericSchema<unknown, T>, max_list_length: number) {
  const list = v.pipe(
    v.array(name),
    v.minLength(1, "an empty list names nobody"),
    v.maxLength(max_list_length, `a list has at most ${max_list_length} names (max_list_length)`),
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
function bodySchema({ max_list_length }: BodyLimits) {
  return v.pipe(
    v.strictObject({
      msg: v.unknown(),
      keycloak: v.optional(oneOrMore(KeycloakId, max_list_length)),
      channel: v.optional(oneOrMore(Channel, max_list_length)),
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
}
export type Body = v.InferOutput<ReturnType<typeof bodySchema>>;

export interface BodyParser {
  /** Throws `invalid_json`, or `invalid_body` if it is too deep: `JSON.stringify` throws on the way out of what `JSON.parse` let in. */
  parseJson(text: string): unknown;
  /** Throws `invalid_body`. */
  parseBody(body: unknown): Body;
}

export function createBodyParser(limits: BodyLimits): BodyParser {
  const schema = bodySchema(limits);
  return {
    parseJson(text) {
      if (isDeeper(text, limits.max_json_depth)) {
        const detail = `The body is nested deeper than ${limits.max_json_depth} levels (max_json_depth).`;
        throw new Problem("invalid_body", { detail });
      }
      try {
        return JSON.parse(text);
      } catch {
        throw new Problem("invalid_json");
      }
    },
    parseBody(body) {
      const result = v.safeParse(schema, body);
      if (result.success) return result.output;
      throw new Problem("invalid_body", { errors: result.issues.slice(0, mostErrors).map(toFieldError) });
    },
  };
}

/** Takes the key out of a body, so that the rest can be judged after it. */
export function splitKey(body: unknown): { apiKey: unknown; rest: unknown } {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return { apiKey: undefined, rest: body };
  const { API_KEY: apiKey, ...rest }: { API_KEY?: unknown } = body;
  return { apiKey, rest };
}

/**
 * What the answer and the log repeat of a field that does not exist: a name that a programmer has written. Where a quote or a
 * comma is missing in the body, the name may be a piece of the message, or a key.
 */
const fieldName = /^\w{1,32}$/;
const strangeField = "a field is none of msg, keycloak, channel, ttl and API_KEY";

function toFieldError(issue: v.BaseIssue<unknown>): FieldError {
  const path = v.getDotPath(issue) ?? "";
  if (issue.type !== "strict_object") return { path, message: issue.message };
  if (path === "") return { path, message: "the body must be a JSON object" };
  if (issue.expected !== "never") return { path, message: "is missing" };
  return fieldName.test(path) ? { path, message: "there is no such field" } : { path: "", message: strangeField };
}

/** Counts brackets outside of strings, in one pass and without recursion. */
function isDeeper(text: string, levels: number): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (inString) {
      if (char === 0x5c /* \ */) i++;
      else if (char === 0x22 /* " */) inString = false;
    } else if (char === 0x22) inString = true;
    else if (char === 0x5b /* [ */ || char === 0x7b /* { */) {
      if (++depth > levels) return true;
    } else if (char === 0x5d /* ] */ || char === 0x7d /* } */) depth--;
  }
  return false;
}
