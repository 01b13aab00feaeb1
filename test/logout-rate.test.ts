import { afterEach, describe, expect, test } from "bun:test";
import { expectProblem } from "./support/problem.ts";
import { startRealm, type Realm } from "./support/realm.ts";
import { start, wsToken } from "./support/service.ts";

/** Back-channel logouts of one address: as many as calls of /authorize, and counted apart from them. */

let realm: Realm | undefined;
afterEach(async () => {
  await realm?.stop();
});

async function setUp() {
  const now_ms = Date.now();
  const ours = (realm = await startRealm({ now: () => now_ms }));
  const { url } = await start(
    {
      AMPER_KEYCLOAK_ISSUER: ours.issuer,
      AMPER_AUTHORIZE_RATE_PER_SECOND: "1",
      AMPER_AUTHORIZE_BURST: "2",
    },
    { now: () => now_ms },
  );
  const logout = async () =>
    fetch(`${url}/backchannel-logout`, {
      method: "POST",
      body: new URLSearchParams({ logout_token: await ours.mintLogout() }),
    });
  const authorize = () => fetch(`${url}/authorize`, { headers: { Authorization: `Bearer ${wsToken}` } });
  return { logout, authorize };
}

describe("logouts from one address", () => {
  test("have to wait once there are too many of them", async () => {
    const { logout } = await setUp();
    for (let i = 0; i < 2; i++) expect((await logout()).status).toBe(200);
    const refused = await logout();
    expect(refused.headers.get("retry-after")).toBe("1");
    await expectProblem(refused, "rate_limited");
  });

  test("do not have to wait for calls of /authorize", async () => {
    const { logout, authorize } = await setUp();
    for (let i = 0; i < 2; i++) expect((await authorize()).status).toBe(200);
    await expectProblem(await authorize(), "rate_limited");
    expect((await logout()).status).toBe(200);
  });

  test("do not make calls of /authorize wait", async () => {
    const { logout, authorize } = await setUp();
    for (let i = 0; i < 2; i++) expect((await logout()).status).toBe(200);
    await expectProblem(await logout(), "rate_limited");
    expect((await authorize()).status).toBe(200);
  });
});
