import { expect, test } from "bun:test";
import { post } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { recordingLog } from "./support/secure-service.ts";
import { apiKey, start } from "./support/service.ts";

const headers = { "X-API-Key": apiKey };
const body = { msg: "hello", channel: "msf" };

test("an unknown field is named where a programmer can have written its name", async () => {
  const { url } = await start();
  for (const name of ["keycloakID", "chanel", "api_key", "x".repeat(32)]) {
    const { errors } = await expectProblem(await post(url, { ...body, [name]: 1 }, headers), "invalid_body");
    expect(errors).toEqual([{ path: name, message: "there is no such field" }]);
  }
});

test("a piece of a message, or a key, that became the name of a field is repeated nowhere", async () => {
  const { log, lines } = recordingLog();
  const { url } = await start({}, { log });
  for (const name of [apiKey, "Dear Ms. Smith,", "msg: never-to-be-logged", "x".repeat(30_000), "", "__proto__ "]) {
    const answer = await post(url, { ...body, [name]: 1 }, headers);
    const text = await answer.clone().text();
    const { errors } = await expectProblem(answer, "invalid_body");
    expect(errors?.map(({ path }) => path)).toEqual([""]);
    expect(lines.at(-1)?.event).toBe("request refused");
    if (name !== "") expect(text + JSON.stringify(lines)).not.toContain(name);
  }
});
