import { describe, expect, test } from "bun:test";
import { env, run } from "./support/binary.ts";
import { certify } from "./support/certificates.ts";
import { createClocks } from "./support/clocks.ts";
import { until } from "./support/raw.ts";
import { ask, startSecurely, writeOver } from "./support/secure-service.ts";
import { apiKey, start } from "./support/service.ts";

/** How long a certificate is still valid is told in time: by a metric, in the log, and by `check`. */

const day_ms = 86_400_000;
const february = certify("20250101", "20260201");

const warnings = ({ lines }: Awaited<ReturnType<typeof startSecurely>>) =>
  lines.filter(({ event }) => event === "certificate");

async function daysIn(url: string): Promise<number | undefined> {
  const text = await (await ask(`${url}/metrics`, { headers: { Authorization: `Bearer ${apiKey}` } })).text();
  const [, days] = /^amper_tls_certificate_expiry_days (\S+)$/m.exec(text) ?? [];
  return days === undefined ? undefined : Number(days);
}

test("a metric says the days that are left, until the certificate is renewed", async () => {
  const clocks = createClocks(Date.UTC(2026, 0, 1));
  const { url, files, reload } = await startSecurely(february, clocks);
  expect(await daysIn(url)).toBe(31);
  clocks.pass(30.5 * day_ms);
  expect(await daysIn(url)).toBe(0.5);
  clocks.pass(2.5 * day_ms);
  expect(await daysIn(url)).toBe(-2);
  writeOver(files, certify("20260101", "20260301"));
  reload();
  expect(await daysIn(url)).toBe(26);
});

test("the metric is about the first certificate of the chain to expire", async () => {
  const clocks = createClocks(Date.UTC(2026, 0, 1));
  const own = certify("20250101", "20270101");
  const chain = certify();
  await Bun.write(chain.cert, (await Bun.file(own.cert).text()) + (await Bun.file(february.cert).text()));
  const service = await startSecurely({ cert: chain.cert, key: own.key }, clocks);
  expect(await daysIn(service.url)).toBe(31);
});

test("without TLS there is no such metric", async () => {
  const { url } = await start();
  expect(await daysIn(url)).toBe(undefined);
});

test("from two weeks on the log warns once a day, with the remedy", async () => {
  const clocks = createClocks(Date.UTC(2026, 0, 1));
  const service = await startSecurely(february, clocks);
  clocks.pass(17 * day_ms - 1000);
  expect(warnings(service)).toEqual([]);
  clocks.pass(2000);
  await until("it warns", () => warnings(service).length === 1);
  expect(warnings(service)).toEqual([
    {
      level: "warn",
      event: "certificate",
      fields: {
        days: 13,
        warning: expect.stringMatching(/^tls_cert .*CN=localhost expires on 2026-02-01.*: renew it$/),
      },
    },
  ]);
  for (const count of [2, 3]) {
    clocks.pass(day_ms);
    await until("it warns again", () => warnings(service).length === count);
  }
  clocks.pass(14 * day_ms);
  await until("it has expired", () => warnings(service).length === 4);
  expect(warnings(service).at(-1)?.fields).toMatchObject({
    days: -3,
    warning: expect.stringContaining("has expired on"),
  });
});

test("an old certificate is a warning at the start, and at its renewal", async () => {
  const clocks = createClocks(Date.UTC(2026, 0, 25));
  const service = await startSecurely(february, clocks);
  expect(warnings(service)).toHaveLength(1);
  writeOver(service.files, certify("20250101", "20260203"));
  service.reload();
  expect(warnings(service)).toHaveLength(2);
  writeOver(service.files, certify("20250101", "20270101"));
  service.reload();
  expect(warnings(service)).toHaveLength(2);
});

describe("`check`", () => {
  const inDays = (days: number): string =>
    new Date(Date.now() + days * day_ms).toISOString().slice(0, 10).replaceAll("-", "");

  test.each([
    [13, 1, "expires on"],
    [2, 1, "expires on"],
    [20, 0, ""],
  ])("of a certificate that is valid for %i days", async (days, code, says) => {
    const { cert, key } = certify("20200101", inDays(days));
    const given = { ...env, AMPER_TLS_CERT: cert, AMPER_TLS_KEY: key };
    await Bun.$`chmod 600 ${key}`;
    expect((await run(["check"], { env: given })).code).toBe(0);
    const strict = await run(["check", "--strict"], { env: given });
    expect({ code: strict.code, says: strict.stderr }).toEqual({ code, says: expect.stringContaining(says) });
    expect(strict.stderr === "").toBe(code === 0);
  });
});
