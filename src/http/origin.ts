// Which page makes a browser send a request. Scripts can neither write nor keep back the headers that tell it.

/**
 * Whether the page is of another origin than the service. Browsers send Origin with every POST and by CORS, and those of our
 * days Sec-Fetch-Site with all that they send (Fetch Metadata). Following a link is no request of the page that it stands on.
 */
export function isForeign(req: Request): boolean {
  const origin = req.headers.get("origin");
  if (origin !== null && !isOwn(origin, req)) return true;
  const isLink = req.method === "GET" && req.headers.get("sec-fetch-mode") === "navigate";
  return isOfAnotherOrigin(req.headers) && !isLink;
}

/** By Sec-Fetch-Site alone, which images and scripts are asked for with, too, although they send no Origin. */
export function isOfAnotherOrigin(headers: Headers): boolean {
  return /cross-site|same-site/i.test(headers.get("sec-fetch-site") ?? "");
}

/**
 * Whether an Origin is this very host: that of the console, or of an application behind the same proxy. The proxy may speak
 * TLS for us, so that the scheme of the request, and the port that it implies, need not be those of the page.
 */
export function isOwn(origin: string, { url, headers }: Pick<Request, "url" | "headers">): boolean {
  const page = URL.parse(origin);
  // An origin is written without user, path or anything else (RFC 6454 6.2).
  if (page === null || page.origin !== origin.toLowerCase() || !/^https?:$/.test(page.protocol)) return false;
  if (url.startsWith("https:") && page.protocol === "http:") return false;
  return URL.parse(`${page.protocol}//${headers.get("host") ?? ""}`)?.host === page.host;
}
