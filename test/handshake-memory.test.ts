import { expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, connected } from "./support/client.ts";
import { engineUrl, metric, until } from "./support/raw.ts";

/** The headers of a handshake, cookies above all, are not kept for as long as what it has opened. */

const count = 600;
const headers = { Cookie: "x".repeat(60_000) };
const env = { AMPER_MAX_HEADER_BYTES: "64 KiB", AMPER_CONNECT_TIMEOUT_MS: "300000" };

/** Opens all of them from small headers, and from large ones: what both take besides is the same. */
async function expectForgotten(
  open: (url: string, i: number, extraHeaders: Record<string, string>) => Promise<unknown>,
) {
  const { url } = await launch({ env });
  const resident = () => metric(url, "process_resident_memory_bytes");
  for (let i = 0; i < count; i++) await open(url, i, {});
  const before = await resident();
  for (let i = count; i < 2 * count; i++) await open(url, i, headers);
  // What is dead is collected in its own time.
  await until("the headers are gone", async () => (await resident()) - before < (count * headers.Cookie.length) / 2);
  expect(await metric(url, "amper_sessions")).toBe(2 * count);
}

test("a connection keeps none of the headers that it came with", async () => {
  let token: string | undefined;
  await expectForgotten(async (url, i, extraHeaders) => {
    token ??= (await authorize(url)).token;
    await connected(url, `user${i}`, "msf", { token, transports: ["websocket"], extraHeaders });
  });
});

test("a session that has sent no CONNECT keeps none of the headers that it came with", async () => {
  await expectForgotten(async (url, _, extraHeaders) => {
    const answer = await fetch(engineUrl(url, "polling"), { headers: extraHeaders });
    expect(answer.status).toBe(200);
    await answer.text();
  });
});
