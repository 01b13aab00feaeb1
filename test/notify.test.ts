import { describe, expect, test } from "bun:test";
import { connected, notify, post } from "./support/client.ts";
import { expectProblem } from "./support/problem.ts";
import { createClock } from "./support/realm.ts";
import { apiKey, start } from "./support/service.ts";

const msg = "hello";
const channel = "msf";

describe("the key", () => {
  test("may come in the body, as a Bearer token, or as X-API-Key", async () => {
    const { url } = await start();
    expect((await post(url, { API_KEY: apiKey, msg, channel })).status).toBe(200);
    expect((await post(url, { msg, channel }, { Authorization: `Bearer ${apiKey}` })).status).toBe(200);
    expect((await post(url, { msg, channel }, { "X-API-Key": apiKey })).status).toBe(200);
  });

  test("missing or wrong is 401, whatever the body looks like", async () => {
    const { url } = await start();
    for (const body of [
      { msg, channel },
      { API_KEY: "wrong", bad: 1 },
      { API_KEY: [apiKey] },
      [],
      "null",
      '"text"',
      1,
    ]) {
      const response = await post(url, body);
      expect(response.headers.get("www-authenticate")).toBe('Bearer realm="amper-channels"');
      await expectProblem(response, "api_key_invalid");
    }
    for (const body of ["not json", { nonsense: true }, "x".repeat(100_000)]) {
      await expectProblem(await post(url, body, { "X-API-Key": "wrong" }), "api_key_invalid");
    }
  });

  test("a wrong one in a header is not outvoted by a good one in the body", async () => {
    const { url } = await start();
    const response = await post(url, { API_KEY: apiKey, msg, channel }, { "X-API-Key": "wrong" });
    await expectProblem(response, "api_key_invalid");
  });

  test("an expired one is dead", async () => {
    const toml = "[api_keys.old]\nkey = 'old-key-0123456789'\nexpires_at = '2020-01-01T00:00:00Z'";
    const { url } = await start({}, { toml });
    await expectProblem(await post(url, { API_KEY: "old-key-0123456789", msg, channel }), "api_key_invalid");
  });

  test("one dies at its time, and another in its place is good before and after", async () => {
    const clock = createClock();
    const until = new Date(clock.now() + 60_000).toISOString();
    const toml = `[api_keys]\nold = { key = "old-key-0123456789", expires_at = "${until}" }\nnew = { key = "new-key-0123456789" }`;
    const { url } = await start({}, { toml, now: clock.now });
    const statuses = async () => [
      (await post(url, { API_KEY: "old-key-0123456789", msg, channel })).status,
      (await post(url, { API_KEY: "new-key-0123456789", msg, channel })).status,
    ];
    expect(await statuses()).toEqual([200, 200]);
    clock.move(60_000);
    expect(await statuses()).toEqual([401, 200]);
  });

  test("an admin one that is limited to channels ends nobody's connections: it would end those on others, too", async () => {
    const toml = `[api_keys.scoped]\nkey = "scoped-key-0123456789"\nadmin = true\nchannels = ["msf"]`;
    const { url } = await start({}, { toml });
    const headers = { "X-API-Key": "scoped-key-0123456789" };
    await expectProblem(await fetch(`${url}/connections/alice`, { method: "DELETE", headers }), "channel_forbidden");
  });

  describe("limited to channels", () => {
    const toml = "[api_keys.scoped]\nkey = 'scoped-key-0123456789'\nchannels = ['msf', 'b2b']";
    const API_KEY = "scoped-key-0123456789";

    test("reaches no other channel by name", async () => {
      const { url } = await start({}, { toml });
      expect((await post(url, { API_KEY, msg, channel: ["msf", "b2b"] })).status).toBe(200);
      for (const named of ["admin", ["msf", "admin"]]) {
        await expectProblem(await post(url, { API_KEY, msg, channel: named }), "channel_forbidden");
        await expectProblem(await post(url, { API_KEY, msg, keycloak: "alice", channel: named }), "channel_forbidden");
      }
    });

    test("reaches a user on its own channels only", async () => {
      const { url } = await start({}, { toml });
      const inside = await connected(url, "alice", "msf");
      const outside = await connected(url, "alice", "admin");
      const receipt = await notify(url, { API_KEY, msg, keycloak: ["alice", "bob"] });
      expect(receipt).toMatchObject({ connections: 1, offline: ["bob"] });
      await inside.count(1);
      expect(outside.received).toEqual([]);
    });

    test("sees no other channel, and may not disconnect", async () => {
      const { url } = await start({}, { toml });
      await connected(url, "alice", "admin");
      const headers = { "X-API-Key": API_KEY };
      expect(await (await fetch(`${url}/connections`, { headers })).json()).toEqual({ connections: 0, channels: {} });
      expect(await (await fetch(`${url}/connections/alice`, { headers })).json()).toMatchObject({ online: false });
      await expectProblem(await fetch(`${url}/connections/alice`, { method: "DELETE", headers }), "admin_required");
    });
  });
});

describe("the body", () => {
  test("with a thousand bad names is told of the first twenty", async () => {
    const { url } = await start();
    const body = { API_KEY: apiKey, msg, keycloak: Array.from({ length: 1000 }, (_, i) => `bad${i} `) };
    const { errors } = await expectProblem(await post(url, body), "invalid_body");
    expect(errors).toHaveLength(20);
    expect(errors?.at(-1)?.path).toBe("keycloak.19");
  });

  test("that is not JSON is 400 invalid_json", async () => {
    const { url } = await start();
    for (const body of ["", "{", "{'a':1}", `{"API_KEY":"${apiKey}",}`, "\u0000"]) {
      await expectProblem(await post(url, body, { "X-API-Key": apiKey }), "invalid_json");
    }
    const latin1 = await fetch(`${url}/notify`, {
      method: "POST",
      headers: { "X-API-Key": apiKey },
      body: Buffer.from('{"msg":"\xe4","channel":"msf"}', "latin1"),
    });
    await expectProblem(latin1, "invalid_json");
  });

  test("of another shape is 400 invalid_body, with every field that is wrong", async () => {
    const { url } = await start();
    const cases: [body: object, paths: string[]][] = [
      [{ channel }, ["msg"]],
      [{ msg }, [""]],
      [{ msg, channel: null }, ["channel"]],
      [{ msg, keycloak: "", channel }, ["keycloak"]],
      [{ msg, keycloak: [], channel }, ["keycloak"]],
      [{ msg, keycloak: "alice " }, ["keycloak"]],
      [{ msg, keycloak: "a\u2028b" }, ["keycloak"]],
      [{ msg, keycloak: "x".repeat(129) }, ["keycloak"]],
      [{ msg, channel: ["msf", "a b"] }, ["channel.1"]],
      [{ msg, channel: Array.from({ length: 1001 }, (_, i) => `c${i}`) }, ["channel"]],
      [{ msg, channel, chanel: "msf" }, ["chanel"]],
      [{ msg, channel, ttl: 60 }, ["ttl"]],
      [{ msg, keycloak: "alice", ttl: -1 }, ["ttl"]],
      [{ msg, keycloak: "alice", ttl: 1.5 }, ["ttl"]],
      [{ msg, keycloak: "alice", ttl: "60" }, ["ttl"]],
      [{ msg, keycloak: "alice", ttl: 604_801 }, ["ttl"]],
      [{ channel: 1, keycloak: {}, other: 1 }, ["msg", "keycloak", "channel", "other"]],
    ];
    for (const [body, paths] of cases) {
      const { errors = [] } = await expectProblem(await post(url, { API_KEY: apiKey, ...body }), "invalid_body");
      expect([body, errors.map(({ path }) => path)]).toEqual([body, paths]);
      for (const { message } of errors) expect(message).not.toContain("Expected");
    }
  });

  test("nested too deeply is refused, and a string full of brackets is not", async () => {
    const { url } = await start();
    const nested = (depth: number) => `{"msg":${"[".repeat(depth)}${"]".repeat(depth)},"channel":"msf"}`;
    const headers = { "X-API-Key": apiKey };
    expect((await post(url, nested(63), headers)).status).toBe(200);
    await expectProblem(await post(url, nested(64), headers), "invalid_body");
    await expectProblem(await post(url, nested(30_000), headers), "invalid_body");
    expect((await post(url, { msg: '\\"[{'.repeat(100), channel }, headers)).status).toBe(200);
  });

  test("has at most max_list_length names in a list, and max_json_depth levels, itself included", async () => {
    const { url } = await start({ AMPER_MAX_LIST_LENGTH: "2", AMPER_MAX_JSON_DEPTH: "3" });
    const say = (body: object) => post(url, { API_KEY: apiKey, msg, ...body });
    expect((await say({ channel: ["a", "b"], keycloak: ["alice", "bob"] })).status).toBe(200);
    for (const body of [{ channel: ["a", "b", "c"] }, { keycloak: ["alice", "bob", "carol"] }]) {
      const { errors } = await expectProblem(await say(body), "invalid_body");
      expect(errors).toEqual([
        { path: Object.keys(body).join(), message: "a list has at most 2 names (max_list_length)" },
      ]);
    }
    expect((await say({ channel, msg: { a: [1, 2] } })).status).toBe(200);
    const { detail } = await expectProblem(await say({ channel, msg: { a: [[1]] } }), "invalid_body");
    expect(detail).toBe("The body is nested deeper than 3 levels (max_json_depth).");
  });

  test("over max_body_bytes is 413, declared or chunked; one of just that size is not", async () => {
    const { url } = await start({ AMPER_MAX_BODY_BYTES: "1000" });
    const sized = (bytes: number) => {
      const empty = JSON.stringify({ API_KEY: apiKey, msg: "", channel });
      return empty.replace('"msg":""', `"msg":"${"x".repeat(bytes - empty.length)}"`);
    };
    const chunked = (text: string) => {
      const stream = new ReadableStream({
        start(controller) {
          for (const part of text.match(/.{1,100}/gs) ?? []) controller.enqueue(new TextEncoder().encode(part));
          controller.close();
        },
      });
      return fetch(`${url}/notify`, { method: "POST", body: stream });
    };
    expect((await post(url, sized(1000))).status).toBe(200);
    expect((await chunked(sized(1000))).status).toBe(200);
    await expectProblem(await post(url, sized(1001)), "too_large");
    await expectProblem(await chunked(sized(1001)), "too_large");
    await expectProblem(await post(url, sized(5_000_000)), "too_large");
  });

  test("of another media type is 415 and says which header to send; none at all counts as JSON", async () => {
    const { url } = await start();
    const body = JSON.stringify({ API_KEY: apiKey, msg, channel });
    const send = (type: string | undefined) =>
      fetch(`${url}/notify`, {
        method: "POST",
        body: Buffer.from(body),
        headers: type === undefined ? {} : { "Content-Type": type },
      });
    for (const type of [
      undefined,
      "application/json",
      "application/json; charset=utf-8",
      "Application/JSON",
      "application/vnd.x+json",
    ]) {
      expect([type, (await send(type)).status]).toEqual([type, 200]);
    }
    for (const type of [
      "application/x-www-form-urlencoded",
      "text/plain",
      "application/jsonp",
      "multipart/form-data",
    ]) {
      const { detail } = await expectProblem(await send(type), "unsupported_media_type");
      expect(detail).toContain("Content-Type: application/json");
    }
  });
});

test("a channel that is not configured is forbidden", async () => {
  const { url } = await start({}, { toml: "[channels.msf]" });
  await expectProblem(await post(url, { API_KEY: apiKey, msg, channel: "b2b" }), "channel_forbidden");
  expect((await post(url, { API_KEY: apiKey, msg, channel: "msf" })).status).toBe(200);
});

test("names out of JavaScript's own vocabulary are names like any other", async () => {
  const { url } = await start();
  const odd = ["__proto__", "constructor", "toString", "hasOwnProperty"];
  for (const name of odd) {
    const { count } = await connected(url, name, name);
    expect(await notify(url, { msg: name, keycloak: name, channel: name })).toMatchObject({ connections: 1 });
    expect(await count(1)).toEqual([name]);
    const response = await fetch(`${url}/connections/${name}`, { headers: { "X-API-Key": apiKey } });
    expect(await response.text()).toContain(`"channels":{"${name}":1}`);
  }
});
