import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { rawFrames } from "./support/frames.ts";
import { frame, handled, metric } from "./support/raw.ts";

/** Websockets of strangers end with their place, whatever their clients do: for the answer to a close frame, Bun waits for 17 s. */

const count = 40;
const descriptors = (url: string): Promise<number> => metric(url, "process_open_fds");
const crowdedOut = (url: string): Promise<number> =>
  metric(url, 'amper_limited_total{limit="max_unauthenticated_per_address"}');

/** So many that read no more, and then send something. */
async function deaf(url: string, ...sends: readonly Uint8Array[]): Promise<void> {
  for (let i = 0; i < count; i++) {
    const ws = await rawFrames(url);
    ws.pause();
    ws.send(...sends);
  }
}

/** Not one for each of them: the test itself has a few. */
async function expectFreed(url: string, before: number): Promise<void> {
  await handled(url);
  expect((await descriptors(url)) - before).toBeLessThan(count / 4);
}

describe("the descriptor of a websocket whose client answers nothing is free as soon as the service has ended it", () => {
  test("for another one that has sent no CONNECT either", async () => {
    const { url } = await launch({ env: { AMPER_MAX_UNAUTHENTICATED_PER_ADDRESS: "1" } });
    const before = await descriptors(url);
    await deaf(url, frame(1, "4".repeat(100), { declared: 8000 }));
    expect(await crowdedOut(url)).toBe(count - 1);
    await expectFreed(url, before);
  });

  test("because it says too much", async () => {
    const { url } = await launch({ env: { AMPER_MAX_CLIENT_MESSAGES: "10" } });
    const before = await descriptors(url);
    await deaf(url, ...Array.from({ length: 11 }, () => frame(1, "3")));
    await handled(url);
    expect(await metric(url, 'amper_limited_total{limit="max_client_messages"}')).toBe(count);
    await expectFreed(url, before);
  });
});
