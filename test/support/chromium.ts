import { afterEach, describe, test } from "bun:test";
import { chromium, type Browser, type Page } from "playwright-core";

const executablePath = Bun.which("chromium");

/** A group of tests that need a real browser, Debian's. Skipped where there is none, but not in CI. */
export function describeChromium(name: string, tests: () => void): void {
  const isMissing = executablePath === null;
  if (isMissing && process.env["CI"] === "true") {
    test(`${name}: there is a Chromium to test with`, () => {
      throw new Error("chromium is not on the PATH: `apt-get install chromium`");
    });
    return;
  }
  if (isMissing) process.stderr.write(`skipped, ${name}: chromium is not on the PATH (apt-get install chromium)\n`);
  describe.skipIf(isMissing)(name, tests);
}

const browsers = new Set<Browser>();
const servers = new Set<Bun.Server<undefined>>();

/**
 * Opens a page with this script, of an origin of its own, in a browser of its own: with a fresh profile, and with nothing that
 * talks to anybody but the page. Closed after the test by itself.
 */
export async function openPage(html: string): Promise<Page> {
  const browser = await chromium.launch({
    ...(executablePath !== null && { executablePath }),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  browsers.add(browser);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => new Response(html, { headers: { "Content-Type": "text/html" } }),
  });
  servers.add(server);
  const page = await browser.newPage();
  await page.goto(server.url.href);
  return page;
}

afterEach(async () => {
  await Promise.all([...browsers].map((browser) => browser.close()));
  browsers.clear();
  await Promise.all([...servers].map((server) => server.stop(true)));
  servers.clear();
});
