import { describe, expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { expectProblem } from "./support/problem.ts";
import { start } from "./support/service.ts";

/** Who may read /metrics. That a call comes from this machine proves something only where nobody else's calls can come that way. */

const token = { AMPER_METRICS_TOKEN: "metrics-token-0123456789" };
const withToken = { Authorization: `Bearer ${token.AMPER_METRICS_TOKEN}` };
const local = (url: string): string => `http://127.0.0.1:${new URL(url).port}/metrics`;

const forwarding = [
  ["X-Forwarded-For", "127.0.0.1"],
  ["X-Forwarded-For", ""],
  ["X-Forwarded-Host", "localhost"],
  ["X-Forwarded-Proto", "https"],
  ["X-Forwarded-Port", "443"],
  ["X-Forwarded-Prefix", "/"],
  ["X-Forwarded-Server", "front"],
  ["X-Forwarded-Client-Cert", "Hash=1"],
  ["Forwarded", "for=127.0.0.1"],
  ["Via", "1.1 front"],
  ["X-Real-IP", "127.0.0.1"],
  ["X-Original-Forwarded-For", "127.0.0.1"],
  ["X-Envoy-External-Address", "127.0.0.1"],
  ["X-Client-IP", "127.0.0.1"],
  ["True-Client-IP", "127.0.0.1"],
  ["CF-Connecting-IP", "127.0.0.1"],
] as const;

describe("without a token, /metrics", () => {
  test("is open to this machine where the service listens on a loopback address", async () => {
    for (const host of ["127.0.0.1", "127.0.0.2", "localhost"]) {
      const { url } = await start({ AMPER_HOST: host });
      const response = await fetch(`${url}/metrics`);
      expect([host, response.status]).toEqual([host, 200]);
      expect(await response.text()).toContain("amper_connections");
    }
  });

  test("is closed to all where the service listens on other addresses, and says what to set", async () => {
    for (const host of ["0.0.0.0", "::"]) {
      const { url } = await launch({ env: { AMPER_HOST: host } });
      const { detail } = await expectProblem(await fetch(local(url)), "metrics_forbidden");
      expect(detail).toContain("metrics_token");
      expect(detail).toContain("metrics_open");
    }
  });

  test("is closed to all where the service trusts a proxy", async () => {
    for (const hops of ["1", "2"]) {
      const { url } = await start({ AMPER_TRUST_PROXY_HOPS: hops });
      for (const headers of [{}, { "X-Forwarded-For": "127.0.0.1" }, { "X-Forwarded-For": "127.0.0.1, 127.0.0.1" }]) {
        await expectProblem(await fetch(local(url), { headers }), "metrics_forbidden");
      }
    }
  });

  test("is closed to what came by a proxy on this machine, as far as it says so", async () => {
    const { url } = await start();
    for (const [name, value] of forwarding) {
      await expectProblem(await fetch(local(url), { headers: { [name]: value } }), "metrics_forbidden");
      await expectProblem(await fetch(local(url), { headers: { [name.toLowerCase()]: value } }), "metrics_forbidden");
    }
    const scrape = { "X-Prometheus-Scrape-Timeout-Seconds": "10", "User-Agent": "Prometheus/3" };
    expect((await fetch(local(url), { headers: scrape })).status).toBe(200);
  });

  test("is closed to a name that is not this machine's own", async () => {
    const { url } = await start();
    for (const host of ["metrics.example", "127.0.0.1.example", "localhost.example:80"]) {
      await expectProblem(await fetch(local(url), { headers: { Host: host } }), "metrics_forbidden");
    }
  });
});

describe("with a token, /metrics", () => {
  test("is open to its holder, wherever the service listens and whatever is in front", async () => {
    for (const env of [{ AMPER_HOST: "0.0.0.0" }, { AMPER_TRUST_PROXY_HOPS: "1" }, {}]) {
      const { url } = await start({ ...env, ...token });
      const headers = { ...withToken, "X-Forwarded-For": "192.0.2.1", Host: "metrics.example" };
      expect((await fetch(local(url), { headers })).status).toBe(200);
      await expectProblem(await fetch(local(url)), "metrics_token_invalid");
    }
  });
});

test("with metrics_open, /metrics is open to all", async () => {
  const { url } = await start({ AMPER_HOST: "0.0.0.0", AMPER_METRICS_OPEN: "true" });
  const headers = { "X-Forwarded-For": "192.0.2.1", Host: "metrics.example" };
  expect((await fetch(local(url), { headers })).status).toBe(200);
});
