import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describeChromium, openPage } from "./support/chromium.ts";
import { authorize, notify } from "./support/client.ts";
import { metric, until } from "./support/raw.ts";
import { start } from "./support/service.ts";

/** The lines that the README has for a page that is reloaded. */
function snippet(): string {
  const readme = readFileSync(join(import.meta.dir, "../README.md"), "utf8");
  const found = [...readme.matchAll(/```js\n(.*?)```/gs)].find(([, code]) => code?.includes("sessionStorage"));
  if (found?.[1] === undefined) throw new Error("the README has no such lines");
  return found[1];
}

/** What they rest on, and what they print in a list. The user is named in the address. */
const pageOf = (url: string, token: string) => `<!doctype html>
  <script src="${url}/socket.io/socket.io.min.js"></script>
  <script>
    const url = "${url}";
    const keycloak = { subject: location.hash.slice(1) };
    const authorize = () => Promise.resolve({ token: "${token}" });
    const printed = [];
    console.log = (line) => printed.push(line);
    ${snippet()}
  </script>`;

const state = "fetch the state of the page";

describeChromium("a page of the README that is reloaded", () => {
  test("gets what came while it loaded, for each user of the tab", async () => {
    const { url } = await start();
    const page = await openPage(pageOf(url, (await authorize(url)).token));
    const address = page.url();
    const visit = async (user: string) => {
      // An address that differs in its fragment alone is the same page.
      await page.goto("about:blank");
      await until("nobody is connected", async () => (await metric(url, "amper_users")) === 0);
      const sent = await notify(url, { msg: `missed by ${user}`, keycloak: user });
      expect(sent).toMatchObject({ connections: 0 });
      await page.goto(`${address}#${user}`);
      await page.waitForFunction("socket.connected");
      await notify(url, { msg: "the end", keycloak: user });
      await page.waitForFunction("printed.at(-1) === 'the end'");
      return page.evaluate("printed");
    };
    expect(await visit("alice")).toEqual([state, "the end"]);
    expect(await visit("alice")).toEqual(["missed by alice", "the end"]);
    expect(await visit("bob")).toEqual([state, "the end"]);
    expect(await visit("alice")).toEqual(["missed by alice", "the end"]);
    expect(await visit("bob")).toEqual(["missed by bob", "the end"]);
  });
});
