import { pick, type Random } from "../support/random.ts";
import { apiKey } from "../support/service.ts";
import { sequenceOf, type Accepted } from "./model.ts";

/** Backends that call until they have an answer, as the README tells them to: with an Idempotency-Key. */
export interface Backends {
  /** Sends something to all channels. */
  broadcast(): Promise<Accepted>;
  /** Resolves when each of them has its last answer, with all that was accepted. */
  stop(): Promise<Accepted[]>;
  readonly accepted: readonly Accepted[];
}

export function startBackends(
  port: number,
  { users, channels, pause_ms }: { users: readonly string[]; channels: readonly string[]; pause_ms: number },
  random: Random,
): Backends {
  const accepted: Accepted[] = [];
  const stopping = new AbortController();
  let messages = 0;

  async function notify(target: Omit<Accepted, "msg" | "sequence">): Promise<Accepted | undefined> {
    const msg = messages++;
    const body = JSON.stringify({ msg, ...target });
    for (;;) {
      const response = await fetch(`http://127.0.0.1:${port}/notify`, {
        method: "POST",
        headers: { "X-API-Key": apiKey, "Idempotency-Key": `chaos-${msg}` },
        body,
      }).catch(() => undefined);
      const answer: unknown = await response?.json().catch(() => undefined);
      if (response?.status === 200 && answer !== undefined) {
        const { id }: { id?: unknown } = Object(answer);
        const entry = { msg, sequence: sequenceOf(id), ...target };
        accepted.push(entry);
        return entry;
      }
      const { code }: { code?: unknown } = Object(answer);
      // More is not held for a user who is away: nothing was sent.
      if (code === "held_full") return undefined;
      if (answer !== undefined && response?.status !== 503) throw new Error(JSON.stringify(answer));
      await Bun.sleep(5);
    }
  }

  function makeUp(): Omit<Accepted, "msg" | "sequence"> {
    const some = (names: readonly string[]) => {
      const picked = random() < 0.5 ? [] : names.filter(() => random() < 0.5);
      return picked.length === 0 ? undefined : picked;
    };
    const [keycloak, channel] = [some(users), some(channels)];
    if (keycloak === undefined) return { keycloak, channel: channel ?? [pick(random, channels)], ttl: 0 };
    return { keycloak, channel, ttl: random() < 0.2 ? 100_000 : 0 };
  }

  const all = Array.from({ length: 4 }, async () => {
    while (!stopping.signal.aborted) {
      await notify(makeUp());
      await Bun.sleep(random() * pause_ms);
    }
  });
  return {
    accepted,
    async broadcast() {
      const sent = await notify({ keycloak: undefined, channel: channels, ttl: 0 });
      if (sent === undefined) throw new Error("refused, although nothing of it is held");
      return sent;
    },
    async stop() {
      stopping.abort();
      await Promise.all(all);
      return accepted;
    },
  };
}
