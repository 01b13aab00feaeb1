import type { Events } from "../observe/events.ts";
import type { Certificate } from "../tls/certificate.ts";
import type { TlsFiles, TlsSettings } from "../tls/files.ts";
import type { Answers } from "./answer.ts";
import type { Listener } from "./exchange.ts";
import { listen, type ListenNeeds, type ListenSettings } from "./listen.ts";
import { openBeside } from "./open-beside.ts";

/** The server that takes connections, and those before it that still have some, as one. */
export interface Listeners extends Pick<Listener, "port" | "pendingRequests" | "pendingWebSockets"> {
  readonly url: URL;
  /** As Bun's: not positive where a websocket lags, or none is subscribed. */
  publish(topic: string, text: string): number;
  /**
   * Takes connections with the certificate of these settings from now on, if it has changed and can be used. Those that are
   * open stay: websockets, which belong to their server with their topics, until they end; the others until the answer to
   * their next request.
   */
  renew(settings: TlsSettings): void;
  /** Takes no more connections. Resolves when all have ended, at once with `true`. */
  stop(isAtOnce: boolean): Promise<void>;
}

/** Throws if it cannot listen. */
export function openListeners(
  settings: ListenSettings,
  {
    certificate,
    events,
    ...rest
  }: Omit<ListenNeeds, "events"> & {
    readonly answers: Answers;
    readonly certificate: Certificate;
    readonly events: Pick<Events, "requests" | "connections">;
  },
): Listeners {
  const { persistence } = rest.answers;
  const needs: ListenNeeds = { ...rest, events: { ...events.requests, ...events.connections } };
  let newest = listen(settings, needs, { tls: certificate.files });
  const all = new Set([newest]);
  /** The one before the newest: it takes what has come to its socket, and its idle connections may be used once more. */
  let leaving: { readonly server: Listener; readonly timer: NodeJS.Timeout } | undefined;
  let isStopping = false;

  function adopt(tls: TlsFiles): void {
    // More than two at a time could not be told apart on their port.
    finish();
    const before = newest;
    const { port = settings.port } = before;
    const { opened, isAlone } = openBeside(port, () => listen({ ...settings, port }, needs, { tls, reusePort: true }));
    newest = opened;
    all.add(opened);
    persistence.end(before);
    leaving = { server: before, timer: setTimeout(finish, isAlone ? persistence.longest_ms : 0) };
  }

  function finish(): void {
    if (leaving === undefined) return;
    const { server, timer } = leaving;
    leaving = undefined;
    clearTimeout(timer);
    void server.stop(false).then(() => all.delete(server));
  }

  function publish(topic: string, text: string): number {
    if (all.size === 1) return newest.publish(topic, text);
    const subscribed = Array.from(all).filter((server) => server.subscriberCount(topic) > 0);
    return subscribed.length === 0 ? 0 : Math.min(...subscribed.map((server) => server.publish(topic, text)));
  }

  async function stop(isAtOnce: boolean): Promise<void> {
    isStopping = true;
    if (leaving !== undefined) clearTimeout(leaving.timer);
    await Promise.all(Array.from(all, (server) => server.stop(isAtOnce)));
  }

  const sum = (of: (server: Listener) => number) => Array.from(all, of).reduce((a, b) => a + b, 0);
  return {
    url: newest.url,
    port: newest.port,
    publish,
    renew(given) {
      if (!isStopping) certificate.renew(given, adopt);
    },
    stop,
    get pendingRequests() {
      return sum(({ pendingRequests }) => pendingRequests);
    },
    get pendingWebSockets() {
      return sum(({ pendingWebSockets }) => pendingWebSockets);
    },
  };
}
