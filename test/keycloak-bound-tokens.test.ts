import { beforeAll, expect, test } from "bun:test";
import { decodeJwt } from "jose";
import { describeKeycloak, startKeycloak } from "./support/keycloak.ts";
import { createBrowser } from "./support/keycloak-login.ts";
import { ask, serve } from "./support/keycloak-service.ts";
import { expectProblem } from "./support/problem.ts";

await describeKeycloak("a real Keycloak's tokens", () => {
  beforeAll(startKeycloak);

  test("are refused where they are bound to a DPoP key, and taken from the same client without", async () => {
    const { url } = await serve();
    const { login } = createBrowser();
    const bound = await login("alice", "msf-web", { dpop: true });
    expect(decodeJwt(bound.access)).toMatchObject({ typ: "DPoP", cnf: { jkt: expect.any(String) } });
    const { detail } = await expectProblem(await ask(url, bound.access), "token_invalid");
    expect(detail).toContain("is bound to a key of its client (`cnf`)");

    const plain = await login("alice", "msf-web");
    expect((await ask(url, plain.access)).status).toBe(200);
  });
});
