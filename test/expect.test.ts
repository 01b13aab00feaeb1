import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { folder } from "./support/folder.ts";
import { dialogue } from "./support/dialogue.ts";
import { metric, talk } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** Bun knows `Expect: 100-continue` in lower case only, and no trailers. */

const body = JSON.stringify({ msg: 1, channel: "msf" });
const head = (headers: string): string =>
  `POST /notify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n${headers}\r\n`;
const length = `Content-Length: ${body.length}\r\n`;
const key = `X-API-Key: ${apiKey}\r\n`;

describe("a client that expects 100", () => {
  test("in lower case gets it, and then its answer", async () => {
    const { url } = await start();
    const { write, answer } = await dialogue(url);
    write(head(`${key}${length}Expect: 100-continue\r\n`));
    expect((await answer()).status).toBe(100);
    write(body);
    expect((await answer()).status).toBe(200);
  });

  // Bun does not answer it with 100: who waits for that, waits for as long as they like.
  for (const value of ["100-Continue", "100-CONTINUE"]) {
    test(`as ${value} is served where it sends its body all the same`, async () => {
      const { url } = await start();
      const { write, answer } = await dialogue(url);
      const bytes = head(`${key}${length}Expect: ${value}\r\n`) + body;
      write(bytes.slice(0, -5));
      write(bytes.slice(-5));
      expect((await answer()).status).toBe(200);
    });
  }
});

test("a request that announces trailers is refused before anything is accepted", async () => {
  const { url } = await start({ AMPER_JOURNAL: `sqlite:${join(folder(), "journal.db")}` });
  const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\nX-Sum: 1\r\n\r\n`;
  const request = `${head(`${key}Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n`)}${chunks}`;
  const { answers, closed } = await talk(url, request, { enough: Infinity });
  // In one packet with the rest, its own refusal may follow.
  expect(answers[0]).toMatchObject({ status: 400, body: expect.stringContaining('"code":"invalid_request"') });
  expect(closed).toBe(true);
  expect(await metric(url, 'amper_notifications_total{kind="channel",key="backend"}')).toBe(0);
});
