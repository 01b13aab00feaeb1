/** The token of `Authorization: Bearer TOKEN` (RFC 6750 2.1), or undefined. Query strings are never read: they end up in logs. */
export function bearer(headers: Headers): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** An API key in a header: `Authorization: Bearer KEY` or `X-API-Key: KEY`. */
export function headerKey(headers: Headers): string | undefined {
  return bearer(headers) ?? headers.get("x-api-key") ?? undefined;
}

/** The scheme of the header Authorization, lower-case (RFC 9110 11.1). */
export function schemeOf(headers: Headers): string | undefined {
  return /^\S+/.exec(headers.get("authorization") ?? "")?.[0].toLowerCase();
}
