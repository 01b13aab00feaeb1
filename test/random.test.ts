import { expect, test } from "bun:test";
import * as v from "valibot";
import { connected, notify, transports, type Page } from "./support/client.ts";
import { pick, seeded, type Random } from "./support/random.ts";
import { until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const users = ["alice", "bob", "carol"];
const channels = ["msf", "b2b", "admin"];
const styles = Object.values(transports);

interface Modelled extends Page {
  readonly user: string;
  readonly channel: string;
  readonly expected: number[];
}

function target(random: Random): { keycloak?: string[]; channel?: string[] } {
  const some = (names: string[]) => names.filter(() => random() < 0.5);
  const [keycloak, channel] = [some(users), some(channels)];
  if (keycloak.length === 0 && channel.length === 0) return target(random);
  return { ...(keycloak.length > 0 && { keycloak }), ...(channel.length > 0 && { channel }) };
}

async function online(url: string): Promise<number> {
  const response = await fetch(`${url}/connections`, { headers: { "X-API-Key": apiKey } });
  return v.parse(v.object({ connections: v.number() }), await response.json()).connections;
}

/**
 * Pages come and go, and move from polling to websocket whenever they like, while notifications are under way. The model
 * knows only who was connected when a notification was accepted; every page must agree with it, in order.
 */
test("whatever comes and goes, every connection gets exactly what the model says, in order", async () => {
  const { seed, random } = seeded();
  const { url } = await start({ AMPER_MAX_CONNECTIONS_PER_USER: "1000" });
  const alive: Modelled[] = [];
  const gone: Modelled[] = [];
  for (let step = 0; step < 500; step++) {
    const dice = random();
    if (dice < 0.12 || alive.length === 0) {
      const [user, channel, style] = [pick(random, users), pick(random, channels), pick(random, styles)];
      alive.push({ ...(await connected(url, user, channel, style)), user, channel, expected: [] });
    } else if (dice < 0.18) {
      const page = pick(random, alive);
      await page.count(page.expected.length);
      page.socket.disconnect();
      gone.push(...alive.splice(alive.indexOf(page), 1));
      // The server learns of it a moment later than the model.
      await until("the page is gone", async () => (await online(url)) === alive.length);
    } else {
      const body = target(random);
      const hit = alive.filter(
        ({ user, channel }) => (body.keycloak?.includes(user) ?? true) && (body.channel?.includes(channel) ?? true),
      );
      for (const { expected } of hit) expected.push(step);
      const { connections } = await notify(url, { msg: step, ...body });
      expect({ seed, step, connections }).toEqual({ seed, step, connections: hit.length });
    }
  }
  // The last one for everybody: when it has come, nothing that should not have come is still on its way.
  await notify(url, { msg: -1, channel: channels });
  for (const { expected } of alive) expected.push(-1);
  await Promise.all(alive.map((page) => page.count(page.expected.length)));
  for (const { user, channel, received, expected } of [...alive, ...gone]) {
    expect({ seed, user, channel, received }).toEqual({ seed, user, channel, received: expected });
  }
});
