import { until } from "../support/raw.ts";
import { pick, type Random } from "../support/random.ts";
import type { Network } from "./network.ts";
import type { Page } from "./pages.ts";
import type { Server } from "./server.ts";

/** What befalls a network. What lasts for a while ends by itself. */
const networkFaults = {
  cut: (network: Network) => network.cut(),
  /** It may outlast a heartbeat. */
  stall: (network: Network, random: Random) => lasts(network.stall, network, random() * 900),
  delay: (network: Network, random: Random) => lasts(() => network.delay(random() * 150), network, random() * 2000),
  "half-close": (network: Network, random: Random) => network.halfClose(pick(random, ["page", "service"])),
  "lost answer": (network: Network) => network.loseAnswer(),
  /** It may outlast the window of the journal. */
  close: (network: Network, random: Random) => lasts(network.close, network, random() * 5000),
};
type NetworkFault = keyof typeof networkFaults;

/** What befalls the server. */
const serverFaults = {
  kill: (server: Server, random: Random) => server.kill(() => Bun.sleep(random() * 50)),
  /** Mostly longer than a heartbeat. */
  stop: (server: Server, random: Random) => server.stop(() => Bun.sleep(200 + random() * 1500)),
  "take over": (server: Server) => server.takeOver(),
  /**
   * Further ahead or behind than any window, behind by as long as an Idempotency-Key lives, and back. Ahead of the end of
   * websocket tokens only for a while, in which pages that have no new one are kept away.
   */
  clock: async (server: Server, random: Random) => {
    const ahead_seconds = pick(random, [0, 0, 3600, 60, -3, -60, -600, -86_400, 86_400]);
    server.setClock?.(ahead_seconds);
    if (ahead_seconds <= 3600) return;
    await Bun.sleep(random() * 3000);
    server.setClock?.(0);
  },
};
type ServerFault = keyof typeof serverFaults;

/** Everything that may happen to a server and the networks of its pages, one after the other, each time counted. */
export function createFaults(server: Server, random: Random) {
  const tally: Record<string, number> = {};
  const count = (name: string): void => void (tally[name] = (tally[name] ?? 0) + 1);

  async function torment(pages: readonly Page[], faults: readonly NetworkFault[]): Promise<void> {
    for (let i = 0; i < 6; i++) {
      const fault = pick(random, faults);
      networkFaults[fault](pick(random, pages).network, random);
      count(fault);
      await Bun.sleep(random() * 60);
    }
  }

  /** Waits before until most pages are there to notice it. */
  async function strike(pages: readonly Page[], faults: readonly ServerFault[]): Promise<void> {
    await until("most pages are connected", () => {
      return pages.filter(({ socket }) => socket.connected).length > pages.length / 2;
    });
    const fault = pick(random, faults);
    await serverFaults[fault](server, random);
    count(fault);
  }

  return { tally, torment, strike };
}

function lasts(begin: () => void, { heal }: Network, for_ms: number): void {
  begin();
  setTimeout(heal, for_ms);
}
