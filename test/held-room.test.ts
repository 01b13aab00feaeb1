import { expect, test } from "bun:test";
import type { Journal } from "../src/journal/journal.ts";
import { Problem } from "../src/model/problem.ts";
import { notify, post } from "./support/client.ts";
import { startTapped } from "./support/journal-tap.ts";
import { expectProblem } from "./support/problem.ts";
import { metric } from "./support/raw.ts";
import { apiKey } from "./support/service.ts";

test("a notification that could not be stored leaves its room for another", async () => {
  let isFull = true;
  const filling = (journal: Journal): Journal => ({
    ...journal,
    append: (...needs) => (isFull ? Promise.reject(new Problem("unavailable")) : journal.append(...needs)),
  });
  const { service } = await startTapped({ AMPER_MAX_HELD_PER_USER: "1" }, { change: filling });
  const { url } = service;
  const held = { msg: 1, keycloak: "alice", ttl: 60 };
  for (let i = 0; i < 3; i++) await expectProblem(await post(url, { API_KEY: apiKey, ...held }), "unavailable");
  isFull = false;
  expect(await notify(url, held)).toMatchObject({ held: true });
  await expectProblem(await post(url, { API_KEY: apiKey, ...held }), "held_full");
  expect(await metric(url, "amper_held")).toBe(1);
});
