import { canonicalOrigin } from "../model/origin.ts";
import type { Settings } from "../settings/schema.ts";
import type { Exchange } from "./exchange.ts";

/** A request that a page may have made its browser send. */
export type Asked = Pick<Exchange, "req" | "server">;

/** Which page makes a browser send a request. Scripts can neither write nor keep back the headers that tell it. */
export interface Pages {
  /**
   * Whether an Origin is this very host: that of the console, or of an application behind the same proxy. The proxy may speak
   * TLS for us, so that the scheme of the request, and the port that it implies, need not be those of the page.
   */
  isOwn(origin: string, asked: Asked): boolean;
  /**
   * Whether the page is of another origin than the service. Browsers send Origin with every POST and by CORS, and those of our
   * days Sec-Fetch-Site with all that they send (Fetch Metadata). Following a link is no request of the page that it stands on.
   */
  isForeign(asked: Asked): boolean;
}

export function createPages({ trust_proxy_hops }: Pick<Settings, "trust_proxy_hops">): Pages {
  /**
   * What the proxies say of the request that the first of them got. Some add to the header, as to X-Forwarded-For, others
   * replace it. (No page of another origin can send it: it needs a preflight, which is refused.)
   */
  function forwarded({ headers }: Request, name: string): string | undefined {
    const entries = trust_proxy_hops === 0 ? undefined : headers.get(name)?.split(",");
    return entries?.at(-Math.min(trust_proxy_hops, entries.length))?.trim();
  }

  function isOwn(origin: string, { req, server }: Asked): boolean {
    const page = URL.parse(canonicalOrigin(origin) ?? "");
    if (page === null || !/^https?:$/.test(page.protocol) || isOfAnotherOrigin(req.headers)) return false;
    const speaksTls = req.url.startsWith("https:");
    // A balancer says `wss` of a websocket. `http` may be said by an inner proxy of what another one has decrypted.
    const isSecure = speaksTls || /^(?:https|wss)$/i.test(forwarded(req, "x-forwarded-proto") ?? "");
    if (isSecure && page.protocol === "http:") return false;
    const host = forwarded(req, "x-forwarded-host") ?? req.headers.get("host") ?? "";
    const own = URL.parse(canonicalOrigin(`${page.protocol}//${host}`) ?? "");
    if (own === null) return false;
    // A browser leaves out the port that the scheme implies only. nginx's `Host $host` leaves out any.
    const isAtImpliedPort = trust_proxy_hops === 0 && server.port === (speaksTls ? 443 : 80);
    const hasPort = /:\d+$/.test(host) || isAtImpliedPort;
    return hasPort ? own.host === page.host : own.hostname === page.hostname;
  }

  function isForeign(asked: Asked): boolean {
    const { method, headers } = asked.req;
    const origin = headers.get("origin");
    if (origin !== null && !isOwn(origin, asked)) return true;
    const isLink = method === "GET" && headers.get("sec-fetch-mode") === "navigate";
    return isOfAnotherOrigin(headers) && !isLink;
  }

  return { isOwn, isForeign };
}

/** By Sec-Fetch-Site alone, which images and scripts are asked for with, too, although they send no Origin. */
export function isOfAnotherOrigin(headers: Headers): boolean {
  return /cross-site|same-site/i.test(headers.get("sec-fetch-site") ?? "");
}
