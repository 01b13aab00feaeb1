/**
 * An origin in the one form in which origins are compared (RFC 6454 6.2): in lower case, a name beyond ASCII as browsers send it,
 * without the port that its scheme implies. Undefined: it is no origin, or has more than one, such as a path.
 */
export function canonicalOrigin(written: string): string | undefined {
  // A URL parser alone forgives too much: `https:app.example`, a backslash, a user before the host.
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#\\@\s]+$/i.test(written)) return undefined;
  const url = URL.parse(written);
  // Of schemes that it does not know, such as `capacitor:`, it leaves the host as it is.
  return url === null || url.host === "" ? undefined : `${url.protocol}//${url.host.toLowerCase()}`;
}
