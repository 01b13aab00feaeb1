import { describe, expect, test } from "bun:test";
import { expectProblem } from "./support/problem.ts";
import { engineUrl } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

/** When a page is of the service's own origin, as its browser and the proxies in front tell it. */

const notify = (url: string, headers: Record<string, string>) =>
  fetch(`${url}/notify`, {
    method: "POST",
    headers: { "X-API-Key": apiKey, ...headers },
    body: '{"msg":1,"channel":"a"}',
  });

/** Expects it where pages of other origins are refused, and where they have to be listed. */
async function expectOwn(url: string, headers: Record<string, string>): Promise<void> {
  expect([headers, (await notify(url, headers)).status]).toEqual([headers, 200]);
  expect([headers, (await fetch(engineUrl(url, "polling"), { headers })).status]).toEqual([headers, 200]);
}

async function expectForeign(url: string, headers: Record<string, string>): Promise<void> {
  await expectProblem(await notify(url, headers), "origin_forbidden");
  await expectProblem(await fetch(engineUrl(url, "polling"), { headers }), "origin_forbidden");
}

const env = { AMPER_CORS_ORIGINS: "https://app.example" };

describe("a page of the service's own origin", () => {
  test("is known by host and port, however they are written", async () => {
    const { url } = await start(env);
    for (const headers of [
      { Host: "Notify.Example:443", Origin: "https://notify.example" },
      { Host: "notify.example", Origin: "https://NOTIFY.example:443" },
      { Host: "notify.example:80", Origin: "http://notify.example" },
      { Host: "notify.example:8443", Origin: "https://notify.example:8443" },
      { Host: "XN--bcher-kva.example", Origin: "https://xn--bcher-kva.example" },
      { Host: "[0:0:0:0:0:0:0:1]:3000", Origin: "http://[::1]:3000" },
    ]) {
      await expectOwn(url, headers);
    }
    for (const headers of [
      { Host: "notify.example:8443", Origin: "https://notify.example" },
      { Host: "notify.example:443", Origin: "http://notify.example" },
      { Host: "notify.example:80", Origin: "https://notify.example" },
      { Host: "notify.example:3000", Origin: "https://notify.example:8443" },
      { Host: "notify.example", Origin: "https://notify.example.evil.example" },
      { Host: "notify.example", Origin: "capacitor://notify.example" },
    ]) {
      await expectForeign(url, headers);
    }
  });

  test("may be at any port of the host where nginx leaves that out (`Host $host`)", async () => {
    for (const hops of ["0", "1"]) {
      const { url } = await start({ ...env, AMPER_TRUST_PROXY_HOPS: hops });
      const host = { Host: "notify.example" };
      await expectOwn(url, { ...host, Origin: "https://notify.example:8443" });
      await expectOwn(url, { ...host, Origin: "http://notify.example:8080", "Sec-Fetch-Site": "same-origin" });
      // The browser knows better.
      await expectForeign(url, { ...host, Origin: "http://notify.example:8080", "Sec-Fetch-Site": "same-site" });
      await expectForeign(url, { ...host, Origin: "https://other.example:8443" });
    }
  });
});

describe("X-Forwarded-Host and X-Forwarded-Proto", () => {
  const inner = { Host: "127.0.0.1:3000" };

  test("say what the service's origin is, where proxies are declared", async () => {
    const { url } = await start({ ...env, AMPER_TRUST_PROXY_HOPS: "1" });
    const forwarded = { ...inner, "X-Forwarded-Host": "notify.example", "X-Forwarded-Proto": "https" };
    await expectOwn(url, { ...forwarded, Origin: "https://notify.example" });
    await expectOwn(url, { ...forwarded, "X-Forwarded-Host": "Notify.example:443", Origin: "https://notify.example" });
    await expectOwn(url, { ...forwarded, "X-Forwarded-Host": "n.example:8443", Origin: "https://n.example:8443" });
    await expectForeign(url, { ...forwarded, Origin: "http://notify.example" });
    await expectForeign(url, { ...forwarded, "X-Forwarded-Proto": "wss", Origin: "http://notify.example" });
    await expectForeign(url, { ...forwarded, Origin: "http://127.0.0.1:3000" });
    await expectForeign(url, { ...forwarded, "X-Forwarded-Host": "n.example:8443", Origin: "https://n.example" });
    // An inner proxy that tells how it was called itself.
    await expectOwn(url, { ...forwarded, "X-Forwarded-Proto": "http", Origin: "https://notify.example" });
  });

  test("count from the right where proxies add to them: what the client has sent is not theirs", async () => {
    const { url } = await start({ ...env, AMPER_TRUST_PROXY_HOPS: "2" });
    const forwarded = { ...inner, "X-Forwarded-Host": "evil.example, notify.example, inner.example" };
    await expectOwn(url, { ...forwarded, Origin: "https://notify.example" });
    for (const origin of ["https://evil.example", "https://inner.example"]) {
      await expectForeign(url, { ...forwarded, Origin: origin });
    }
    await expectOwn(url, { ...inner, "X-Forwarded-Host": "notify.example", Origin: "https://notify.example" });
  });

  test("count for nothing without declared proxies", async () => {
    const { url } = await start(env);
    await expectForeign(url, { ...inner, "X-Forwarded-Host": "notify.example", Origin: "https://notify.example" });
    await expectOwn(url, { ...inner, "X-Forwarded-Host": "notify.example", Origin: "http://127.0.0.1:3000" });
    await expectOwn(url, { ...inner, "X-Forwarded-Proto": "https", Origin: "http://127.0.0.1:3000" });
  });
});
