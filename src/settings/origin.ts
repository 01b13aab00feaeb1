import * as v from "valibot";
import { canonicalOrigin } from "../model/origin.ts";
import { didYouMean, type Doubt } from "./messages.ts";

const rule = "must be * or a list of origins such as https://app.example.com";

/** Why a text that reads like an origin is none that a browser ever sends, with what to write instead. */
const hopeless: readonly (readonly [is: RegExp, message: string])[] = [
  [/^\*$/, "must not be *: that stands alone, and is all origins"],
  [/^null$/i, "must not be null: all pages without an origin of their own send that (files, sandboxed frames)"],
  [/^(?:file|data|blob|about|javascript):/i, "must have another scheme: pages of this one send null"],
  [/^wss?:/i, "must begin with https:// or http://, as the address of the page does"],
  [/^ftp:/i, "must begin with https:// or http://: no browser shows pages of this scheme"],
  [/^https?:\/\/\*(?::\d*)?$/i, "must name a host: https://*.example.com is every host below example.com"],
];

const wildcardRule = "must have its * in front, as the whole first label: https://*.example.com";

/**
 * An origin in the form in which origins are compared. `https://*.example.com` is any host below example.com, however deep, but
 * not example.com itself; `moz-extension://*` is any host of that scheme, for extensions that have another one in each browser.
 */
export const origin = v.pipe(
  v.string(rule),
  v.trim(),
  v.rawTransform<string, string>(({ dataset: { value }, addIssue, NEVER }) => {
    // Some copy the address of the page.
    const canonical = canonicalOrigin(value.replace(/\/$/, ""));
    const message = hopeless.find(([is]) => is.test(value))?.[1] ?? flawOf(canonical, value);
    if (canonical !== undefined && message === undefined) return canonical;
    addIssue({ message: message ?? rule });
    return NEVER;
  }),
);

function flawOf(canonical: string | undefined, value: string): string | undefined {
  if (canonical === undefined) return /^[a-z][a-z0-9+.-]*:\/\/[^/]+\//i.test(value) ? `${rule}, without a path` : rule;
  const [, scheme = "", host = ""] = /^([^:]+):\/\/(.+)$/.exec(canonical) ?? [];
  const isOfWeb = scheme === "https" || scheme === "http";
  // A mistake in the scheme would look like the scheme of an application.
  const meant = isOfWeb ? "" : didYouMean(scheme, ["https", "http"]);
  if (meant !== "") return `${rule}${meant}`;
  return !host.includes("*") || (isOfWeb ? /^\*\.[^*]+$/.test(host) : host === "*") ? undefined : wildcardRule;
}

/** Warns of a wildcard that takes in a whole top-level domain. */
export function doubtsAboutOrigins(origins: "*" | readonly string[]): readonly Doubt[] {
  const broad = origins === "*" ? [] : origins.filter((given) => /^https?:\/\/\*\.(?!localhost\b)[^.]+$/.test(given));
  return broad.map((given) => ({ place: [], doubt: `has ${given}, which is everybody who has a name there` }));
}
