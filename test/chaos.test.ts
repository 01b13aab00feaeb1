import { describe, expect, test } from "bun:test";
import { startBackends, type Backends } from "./chaos/backends.ts";
import { createFaults } from "./chaos/faults.ts";
import { judge, type Accepted } from "./chaos/model.ts";
import { network } from "./chaos/network.ts";
import { newTab, openPage, wander, type Page } from "./chaos/pages.ts";
import { startServer, type Server } from "./chaos/server.ts";
import { authorize } from "./support/client.ts";
import { generator, seeded, type Random } from "./support/random.ts";
import { until } from "./support/raw.ts";
import { scale } from "./support/scale.ts";

const kills = scale.chaosKills;
const users = ["alice", "bob", "carol"];
const wanderers = ["dave", "erin", "frank"];
const channels = ["msf", "b2b"];

/** Each actor has a generator of its own: what one does must not hang on when another asks. */
function actors(): { seed: number; actor: () => Random } {
  const { seed } = seeded();
  let made = 0;
  return { seed, actor: () => generator(seed + made++) };
}

const tokenFor = async ({ port }: Server): Promise<string> => (await authorize(`http://127.0.0.1:${port}`)).token;

/** Three pages of each user on each channel, with every kind of client, and waits until they are there. */
async function openAll({ port }: Server, token: string, actor: () => Random): Promise<Page[]> {
  const pages: Page[] = [];
  for (const user of users) {
    for (const channel of channels) {
      for (let i = 0; i < 3; i++) {
        pages.push(openPage({ user, channel, token }, await network(port), pages.length, actor()));
      }
    }
  }
  await until("all pages are connected", () => pages.every((page) => page.hasOpened()));
  return pages;
}

/** Waits until every page has everything: the last that was sent while it was connected. */
async function settle(pages: readonly Page[], backends: Backends): Promise<void> {
  for (;;) {
    for (const page of pages) page.network.heal();
    const { sequence } = await backends.broadcast();
    // A page that was away for too long gets only what comes after it is back.
    await until("everybody has the last, or another place", () =>
      pages.every(({ socket, newest, place }) => socket.connected && (newest() >= sequence || place() >= sequence)),
    );
    if (pages.every(({ newest }) => newest() >= sequence)) return;
  }
}

function expectAllIsWell(seed: number, accepted: readonly Accepted[], pages: readonly Page[], tally: object) {
  const { counts, wrong } = judge(accepted, pages);
  const lost = pages.reduce((sum, page) => sum + page.network.lost, 0);
  const figures = Object.entries({ ...tally, "answers lost": lost, ...counts });
  process.stdout.write(`SEED=${seed}: ${figures.map(([name, n]) => `${n} ${name}`).join(", ")}\n`);
  expect({ seed, wrong: wrong.slice(0, 20) }).toEqual({ seed, wrong: [] });
  return counts;
}

describe("chaos", () => {
  test(`${kills} kills, cuts and stalls: every page gets all of its notifications, recovered`, async () => {
    const { seed, actor } = actors();
    const server = await startServer();
    const pages = await openAll(server, await tokenFor(server), actor);
    const { tally, torment, strike } = createFaults(server, actor());
    const backends = startBackends(server.port, { users, channels, pause_ms: 6 }, actor());
    for (let kill = 0; kill < kills; kill++) {
      await torment(pages, ["cut", "stall"]);
      await strike(pages, ["kill"]);
    }
    const accepted = await backends.stop();
    await settle(pages, backends);
    const counts = expectAllIsWell(seed, accepted, pages, tally);
    // Everything happened within the window.
    expect({ seed, lost: counts["not recovered"] }).toEqual({ seed, lost: 0 });
    // So that kills that no page noticed do not pass for kills survived. (A stalled page may sleep through one.)
    expect(counts.recovered).toBeGreaterThan((kills * pages.length) / 2);
  });

  test("a successor takes over under load, three times: nobody misses anything", async () => {
    const { seed, actor } = actors();
    const server = await startServer();
    const pages = await openAll(server, await tokenFor(server), actor);
    const backends = startBackends(server.port, { users, channels, pause_ms: 6 }, actor());
    for (let i = 0; i < 3; i++) await server.takeOver();
    const accepted = await backends.stop();
    await settle(pages, backends);
    const counts = expectAllIsWell(seed, accepted, pages, { "take over": 3 });
    expect({ seed, lost: counts["not recovered"] }).toEqual({ seed, lost: 0 });
  });

  test(`all faults at once for ${scale.chaosSeconds} s: no hole without a word, and what is held arrives`, async () => {
    const { seed, actor } = actors();
    // So short that some pages are away for longer, and have to be told.
    const server = await startServer({ AMPER_JOURNAL_WINDOW_SECONDS: "3" });
    if (server.setClock === undefined) process.stdout.write("no clock steps: libfaketime is not installed\n");
    const token = await tokenFor(server);
    const pages = await openAll(server, token, actor);
    const { tally, torment, strike } = createFaults(server, actor());
    const backends = startBackends(server.port, { users: [...users, ...wanderers], channels, pause_ms: 25 }, actor());
    const stopping = new AbortController();
    const wandering = wanderers.map(async (user, i) => {
      const [own, random] = [await network(server.port), actor()];
      // One of them reloads its page.
      const tab = i === 0 ? newTab() : undefined;
      const come = (visit: number): Page => openPage({ user, channel: "msf", token }, own, visit + i, random, tab);
      return wander(come, random, stopping.signal);
    });
    const faults = ["kill", "stop", "take over", "clock"] as const;
    const end_ms = performance.now() + scale.chaosSeconds * 1000;
    while (performance.now() < end_ms || (tally["kill"] ?? 0) < kills) {
      await torment(pages, ["cut", "stall", "delay", "half-close", "lost answer", "close"]);
      await strike(pages, server.setClock === undefined ? faults.slice(0, 3) : faults);
    }
    server.setClock?.(0);
    stopping.abort();
    const opened = [...pages, ...(await Promise.all(wandering)).flat()];
    // The pages of a tab have one history: the last of them tells how it ended.
    const all = [...new Map(opened.map((page) => [page.events, page])).values()];
    const accepted = await backends.stop();
    await settle(
      all.filter(({ hasLeft }) => !hasLeft),
      backends,
    );
    expectAllIsWell(seed, accepted, all, tally);
  });
});
