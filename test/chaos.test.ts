import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { authorize, page, transports, type Page } from "./support/client.ts";
import { launch, listening, spawn, type Run } from "./support/binary.ts";
import { folder } from "./support/folder.ts";
import { proxy, type Proxy } from "./support/proxy.ts";
import { pick, seeded, type Random } from "./support/random.ts";
import { until } from "./support/raw.ts";
import { report, scale } from "./support/scale.ts";
import { apiKey } from "./support/service.ts";

const kills = scale.chaosKills;
const users = ["alice", "bob", "carol"];
const channels = ["msf", "b2b"];

interface Victim extends Page {
  readonly user: string;
  readonly channel: string;
  readonly network: Proxy;
  /** What `socket.recovered` was at each connect but the first. */
  readonly recovered: boolean[];
}

interface Accepted {
  readonly msg: number;
  readonly sequence: number;
  readonly keycloak: readonly string[] | undefined;
  readonly channel: readonly string[] | undefined;
}

/** Stock clients on all transports, static `auth` and function, each behind a network of its own. Nobody reconnects by hand. */
async function connectAll(port: number): Promise<Victim[]> {
  const victims: Victim[] = [];
  for (const user of users) {
    for (const channel of channels) {
      for (const options of Object.values(transports)) {
        const network = await proxy(port);
        const { token } = await authorize(network.url);
        const identity = { token, keycloakID: user, channel };
        const auth = victims.length % 2 === 0 ? identity : (send: (auth: object) => void) => send(identity);
        const opened = page(network.url, auth, options);
        const recovered: boolean[] = [];
        await new Promise<void>((resolve) => opened.socket.once("connect", resolve));
        opened.socket.on("connect", () => recovered.push(opened.socket.recovered));
        victims.push({ ...opened, user, channel, network, recovered });
      }
    }
  }
  return victims;
}

/** A backend that tries until it has an answer, as the README tells it to: with an Idempotency-Key. */
async function insist(port: number, msg: number, random: Random): Promise<Accepted> {
  const some = (names: readonly string[]) => (random() < 0.5 ? undefined : names.filter(() => random() < 0.6));
  const [keycloak, channel] = [some(users), some(channels)].map((names) => (names?.length === 0 ? undefined : names));
  const target =
    keycloak === undefined && channel === undefined ? { channel: [pick(random, channels)] } : { keycloak, channel };
  const body = JSON.stringify({ msg, ...target });
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/notify`, {
      method: "POST",
      headers: { "X-API-Key": apiKey, "Idempotency-Key": `chaos-${msg}` },
      body,
    }).catch(() => undefined);
    if (response?.status === 200) {
      const { id }: { id?: unknown } = Object(await response.json());
      return { msg, sequence: Number(String(id).split("-")[1]), keycloak: target.keycloak, channel: target.channel };
    }
    if (response !== undefined && response.status !== 503)
      throw new Error(`${response.status} ${await response.text()}`);
    await Bun.sleep(5);
  }
}

/** Several backends at once, until told to stop. */
function load(port: number, random: Random): { stop: () => Promise<Accepted[]> } {
  const stopping = new AbortController();
  let msg = 0;
  const accepted: Accepted[] = [];
  const backends = Array.from({ length: 4 }, async () => {
    while (!stopping.signal.aborted) {
      accepted.push(await insist(port, msg++, random));
      await Bun.sleep(random() * 6);
    }
  });
  return {
    async stop() {
      stopping.abort();
      await Promise.all(backends);
      return accepted.toSorted((a, b) => a.sequence - b.sequence);
    },
  };
}

/** In the end each connection has exactly what was accepted for it, in the order of the journal, each once. */
async function expectComplete(seed: number, victims: readonly Victim[], accepted: readonly Accepted[]): Promise<void> {
  for (const { user, channel, count, received, recovered } of victims) {
    const expected = accepted
      .filter((a) => (a.keycloak?.includes(user) ?? true) && (a.channel?.includes(channel) ?? true))
      .map(({ msg }) => msg);
    await count(expected.length);
    expect({ seed, user, channel, received }).toEqual({ seed, user, channel, received: expected });
    // Everything happened within the window.
    expect({ seed, user, channel, lost: recovered.filter((was) => !was).length }).toEqual({
      seed,
      user,
      channel,
      lost: 0,
    });
  }
}

/** What befalls networks: cuts, and stalls that may outlast a heartbeat. */
async function torment(victims: readonly Victim[], random: Random): Promise<void> {
  for (let i = 0; i < 6; i++) {
    const { network } = pick(random, victims);
    if (random() < 0.6) network.cut();
    else {
      network.stall();
      setTimeout(network.resume, random() * 400);
    }
    await Bun.sleep(random() * 60);
  }
}

describe("chaos", () => {
  const env = (path: string, port = "0") => ({
    AMPER_JOURNAL: `sqlite:${path}`,
    AMPER_PORT: port,
    AMPER_PING_INTERVAL_MS: "300",
    AMPER_PING_TIMEOUT_MS: "300",
    AMPER_DRAIN_SECONDS: "1",
  });

  test(`kill -9 ${kills} times, cut and stalled networks: everybody gets everything that was accepted for him, once, in order`, async () => {
    const { seed, random } = seeded();
    const path = join(folder(), "journal.db");
    let server: Run = await launch({ env: env(path) });
    const { port } = new URL(server.url);
    const victims = await connectAll(Number(port));
    const backends = load(Number(port), random);
    for (let kill = 0; kill < kills; kill++) {
      await torment(victims, random);
      // Most have to notice it.
      await until(
        "most are connected",
        () => victims.filter(({ socket }) => socket.connected).length > victims.length / 2,
      );
      server.kill("SIGKILL");
      await server.exited;
      await Bun.sleep(random() * 50);
      server = await launch({ env: env(path, port) });
    }
    await torment(victims, random);
    const accepted = await backends.stop();
    for (const { network } of victims) network.resume();
    await expectComplete(seed, victims, accepted);
    // So that kills that nobody noticed do not pass for kills survived. (A stalled client may sleep through one.)
    const reconnects = victims.reduce((sum, { recovered }) => sum + recovered.length, 0);
    expect(reconnects).toBeGreaterThan((kills * victims.length) / 2);
    report(`${kills} kills, ${reconnects} reconnects, ${accepted.length} notifications, SEED=${seed}`);
  });

  test("a successor takes over under load, three times: every call succeeds, and nobody misses anything", async () => {
    const { seed, random } = seeded();
    const path = join(folder(), "journal.db");
    let server = await launch({ env: env(path) });
    const { port } = new URL(server.url);
    const victims = await connectAll(Number(port));
    const backends = load(Number(port), random);
    for (let takeover = 0; takeover < 3; takeover++) {
      const successor = await spawn({ env: env(path, port) });
      expect(await successor.said(/waiting for the journal/)).toContain("process");
      server.kill("SIGTERM");
      await Promise.all([listening(successor), server.exited]);
      expect(await server.exited).toBe(0);
      server = await listening(successor);
    }
    const accepted = await backends.stop();
    await expectComplete(seed, victims, accepted);
  });
});
