import type { Browser, Page } from "playwright-core";
import { describeWith } from "./parts.ts";

const executablePath = Bun.which("chromium");

/** A group of tests that need a real browser, Debian's. */
export function describeChromium(name: string, tests: () => void): void {
  const missing = executablePath === null ? "chromium is not on the PATH (apt-get install chromium)" : undefined;
  describeWith({ missing }, name, tests);
}

const browsers = new Set<Browser>();
const servers = new Set<Bun.Server<undefined>>();

/**
 * Opens a page with this script, of an origin of its own, in a browser of its own: with a fresh profile, and with nothing that
 * talks to anybody but the page. Closed after the test by itself.
 *
 * @param host the name of this machine in the page's address.
 */
export async function openPage(html: string, host = "127.0.0.1"): Promise<Page> {
  // Not with all test files: it takes a while to load.
  const { chromium } = await import("playwright-core");
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
  await page.goto(`http://${host}:${server.port}/`);
  return page;
}

export async function closeBrowsers(): Promise<void> {
  await Promise.all([...browsers].map((browser) => browser.close()));
  browsers.clear();
  await Promise.all([...servers].map((server) => server.stop(true)));
  servers.clear();
}
