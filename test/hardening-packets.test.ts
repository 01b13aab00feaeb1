import { expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, notify } from "./support/client.ts";
import { metric, raws, until, type Raw } from "./support/raw.ts";

/** Socket.IO packets that cost the sender little and a careless server much, against the executable. More: socket-protocol.test.ts. */

const dropped = (url: string): Promise<number> => metric(url, "amper_client_events_dropped_total");

async function connect(url: string, raw: Raw, keycloakID = "mallory"): Promise<void> {
  const { token } = await authorize(url);
  await raw.send(`40${JSON.stringify({ token, keycloakID, channel: "msf" })}`);
  expect(await raw.next()).toStartWith('40{"sid"');
}

/** The next thing that each of them gets is this notification. */
async function expectNotified(url: string, msg: string, all: readonly Raw[]): Promise<void> {
  expect(await notify(url, { msg, channel: "msf" })).toMatchObject({ connections: all.length });
  for (const raw of all) expect(await raw.next()).toStartWith(`42["notification","${msg}"`);
}

for (const [name, open] of Object.entries(raws)) {
  test(`attachments that are announced and never sent cost nothing, and keep no notification from coming, ${name}`, async () => {
    const { url } = await launch();
    const all = await Promise.all(Array.from({ length: 20 }, () => open(url)));
    await Promise.all(all.map((raw) => connect(url, raw)));
    for (const raw of all) await raw.send('4510-["x",{"_placeholder":true,"num":0}]');
    await until("all are there", async () => (await dropped(url)) === 20);
    await expectNotified(url, "undisturbed", all);
    // One after the other, and one less than announced.
    for (const raw of all) await raw.send(...Array.from({ length: 9 }, () => new Uint8Array([1])));
    await until("all are there", async () => (await dropped(url)) === 200);
    await expectNotified(url, "still undisturbed", all);
  });

  test(`an absurd number of attachments ends the connection, and no other, ${name}`, async () => {
    const { url } = await launch();
    const good = await open(url);
    await connect(url, good, "alice");
    for (const packet of [
      '4511-["x"]',
      '451000000-["x"]',
      `45${"9".repeat(300)}-["x"]`,
      '45-1-["x"]',
      '451e9-["x"]',
      '451.5-["x"]',
      '450x10-["x"]',
      '45-["x"]',
      '45Infinity-["x"]',
      "4511-[]",
    ]) {
      const raw = await open(url);
      await connect(url, raw);
      await raw.send(packet);
      expect([packet, await raw.ended()]).toEqual([packet, []]);
    }
    await until("only the good one is left", async () => (await metric(url, "amper_sessions")) === 1);
    await expectNotified(url, "undisturbed", [good]);
  });

  test(`a placeholder for what is not there ends the connection, and reaches no prototype, ${name}`, async () => {
    const { url } = await launch();
    const good = await open(url);
    await connect(url, good, "alice");
    for (const num of ["1", "-1", "1e9", '"0"', '"__proto__"', '"constructor"', "null", "[0]", '{"valueOf":0}']) {
      const raw = await open(url);
      await connect(url, raw);
      await raw.send(`451-["x",{"_placeholder":true,"num":${num},"__proto__":{"polluted":true}}]`, new Uint8Array([1]));
      expect([num, await raw.ended()]).toEqual([num, []]);
    }
    await expectNotified(url, "undisturbed", [good]);
  });

  test(`no acknowledgement is given, whatever id asks for it, and none is awaited, ${name}`, async () => {
    const { url } = await launch();
    const raw = await open(url);
    await connect(url, raw);
    const ids = ["0", "1", "9007199254740993", "9".repeat(400), "00"];
    await raw.send(...ids.map((id) => `42${id}["event"]`), ...ids.map((id) => `43${id}["answer"]`));
    await until("all are dropped", async () => (await dropped(url)) === 2 * ids.length);
    await expectNotified(url, "undisturbed", [raw]);
  });
}
