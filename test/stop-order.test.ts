import { expect, test } from "bun:test";
import { authorize, notify } from "./support/client.ts";
import { handled, rawPolling, talk } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** At a stop, polling clients are waited for. Who sends something slowly is not, and is told before. */

const closing = '42["closing",{"code":"draining","reconnect":true}]';

async function setUp() {
  const service = await start();
  const { token } = await authorize(service.url);
  const polling = await rawPolling(service.url);
  await polling.send(`40${JSON.stringify({ token, keycloakID: "alice", channel: "msf" })}`);
  expect(await polling.next()).toStartWith("40");
  return { service, polling };
}

const requests: Record<string, (sid: string) => string> = {
  "a notification": () => `POST /notify HTTP/1.1\r\nX-API-Key: ${apiKey}\r\n`,
  "a logout": () => "POST /backchannel-logout HTTP/1.1\r\n",
  "a message of a polling session": (sid: string) => `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\n`,
};

for (const [name, head] of Object.entries(requests)) {
  test(`${name} that is still coming is answered 503 before a silent polling client comes`, async () => {
    const { service, polling } = await setUp();
    const { sid } = await rawPolling(service.url);
    const slow = talk(service.url, `${head(sid)}Host: x\r\nContent-Length: 600\r\n\r\nx`);
    await handled(service.url);
    const stopped = service.stop();
    expect((await slow).answers).toMatchObject([{ status: 503 }]);
    expect(await polling.next()).toBe(closing);
    expect(await stopped).toBe(true);
  });
}

test("a notification that comes whole is taken, as long as polling clients are waited for", async () => {
  const { service, polling } = await setUp();
  const stopped = service.stop();
  expect(await notify(service.url, { msg: 1, channel: "msf" })).toMatchObject({ connections: 0 });
  expect(await polling.next()).toBe(closing);
  expect(await stopped).toBe(true);
});
