import { expect, test } from "bun:test";
import type { Journal } from "../src/journal/journal.ts";
import { post } from "./support/client.ts";
import { startTapped } from "./support/journal-tap.ts";
import { expectProblem } from "./support/problem.ts";
import { engineUrl, rawPolling, upgradeHeaders } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** Each refusal for now says when to come back. */

test.each([
  ["polling", {}],
  ["websocket", upgradeHeaders],
] as const)("an overloaded service tells a %s handshake when to come back", async (transport, headers) => {
  const { url } = await start({ AMPER_MAX_CONNECTIONS: "1" });
  await rawPolling(url);
  const refused = await fetch(engineUrl(url, transport), { headers });
  expect(refused.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
  await expectProblem(refused, "overloaded");
});

test("a service without a journal tells a backend when to come back", async () => {
  const broken = (journal: Journal): Journal => ({
    ...journal,
    async append(...needs) {
      await journal.close();
      return journal.append(...needs);
    },
  });
  const { service } = await startTapped({}, { change: broken });
  const refused = await post(service.url, { API_KEY: apiKey, msg: 1, channel: "msf" });
  expect(refused.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
  await expectProblem(refused, "unavailable");
});
