import { expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { metric, talk, upgradeHeaders } from "./support/raw.ts";
import { apiKey } from "./support/service.ts";

/** Requests that two readers could cut differently, against the executable: one of them would see a request that the other does not. */

const hidden = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const chunks = "5\r\nhello\r\n0\r\n\r\n";
const upgrade = Object.entries(upgradeHeaders).map(([name, value]) => `${name}: ${value}`);

function request(start: string, headers: readonly string[], body = ""): string {
  return `${start} HTTP/1.1\r\n${["Host: x", ...headers].join("\r\n")}\r\n\r\n${body}`;
}
const post = (headers: readonly string[], body: string): string => request("POST /notify", headers, body);

const ambiguous: Record<string, string> = {
  "a length with a coding": post(["Content-Length: 5", "Transfer-Encoding: chunked"], chunks),
  "a coding with a length": post(["Transfer-Encoding: chunked", `Content-Length: ${chunks.length}`], chunks),
  "two different lengths": post(["Content-Length: 0", `Content-Length: ${hidden.length}`], ""),
  "two equal lengths": post(["Content-Length: 5", "Content-Length: 5"], "hello"),
  "a list of lengths": post(["Content-Length: 5, 5"], "hello"),
  "a negative length": post(["Content-Length: -5"], "hello"),
  "a length with a plus sign": post(["Content-Length: +5"], "hello"),
  "a hexadecimal length": post(["Content-Length: 0x5"], "hello"),
  "a length with something behind it": post(["Content-Length: 5;"], "hello"),
  "an empty length": post(["Content-Length:"], ""),
  "a length of more than 64 bits": post(["Content-Length: 18446744073709551621"], "hello"),
  "an unknown coding": post(["Transfer-Encoding: xchunked"], chunks),
  "chunked, then identity": post(["Transfer-Encoding: chunked, identity"], chunks),
  "identity, then chunked": post(["Transfer-Encoding: identity, chunked"], chunks),
  "gzip, then chunked": post(["Transfer-Encoding: gzip, chunked"], chunks),
  "chunked twice": post(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], chunks),
  "chunked with an empty element behind it": post(["Transfer-Encoding: chunked, "], chunks),
  "chunked with an empty element before it": post(["Transfer-Encoding: ,chunked"], chunks),
  "a coding behind a vertical tab": post(["Transfer-Encoding: \x0bchunked"], chunks),
  "a coding in quotes": post(['Transfer-Encoding: "chunked"'], chunks),
  "an empty coding": post(["Transfer-Encoding:"], chunks),
  "a space before the colon": post(["Transfer-Encoding : chunked"], chunks),
  "a folded line": post(["X-A: b", " Transfer-Encoding: chunked", `Content-Length: ${chunks.length}`], chunks),
  "a bare line feed": post(["X-A: b\nTransfer-Encoding: chunked", `Content-Length: ${chunks.length}`], chunks),
  "a bare carriage return": post(["X-A: b\rTransfer-Encoding: chunked", `Content-Length: ${chunks.length}`], chunks),
  "NUL in a value": post(["X-A: a\0b", "Content-Length: 5"], "hello"),
  "NUL in a name": post(["X\0A: b", "Content-Length: 5"], "hello"),
  "a line without a colon": post(["No colon", "Content-Length: 5"], "hello"),
  "a coding in HTTP/1.0": `POST /notify HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
  "a negative chunk": post(["Transfer-Encoding: chunked"], "-5\r\nhello\r\n0\r\n\r\n"),
  "a chunk size with 0x": post(["Transfer-Encoding: chunked"], "0x5\r\nhello\r\n0\r\n\r\n"),
  "a chunk size of more than 64 bits": post(["Transfer-Encoding: chunked"], "10000000000000005\r\nhello\r\n0\r\n\r\n"),
  "a chunk that is longer than its size": post(["Transfer-Encoding: chunked"], "3\r\nhello\r\n0\r\n\r\n"),
  "a line feed in a chunk extension": post(["Transfer-Encoding: chunked"], "5;a\nb\r\nhello\r\n0\r\n\r\n"),
  "two hosts": request("GET /health/live", ["Host: y"]),
  "one host twice": request("GET /health/live", ["Host: x"]),
  "no host": "GET /health/live HTTP/1.1\r\n\r\n",
  "a tunnel": request("CONNECT x:80", []),
  "an upgrade with a length": request(
    "GET /socket.io/?EIO=4&transport=websocket",
    [...upgrade, "Content-Length: 5"],
    "hello",
  ),
  "an upgrade with a coding": request(
    "GET /socket.io/?EIO=4&transport=websocket",
    [...upgrade, "Transfer-Encoding: chunked"],
    chunks,
  ),
};

test("is refused with 400 where readers could differ, and the connection is closed before what follows is read", async () => {
  const { url } = await launch();
  for (const [name, sent] of Object.entries(ambiguous)) {
    const { answers, closed, text } = await talk(url, sent + hidden, { enough: Infinity });
    const seen = { statuses: answers.map(({ status }) => status), closed, isHiddenSeen: text.includes('"live"') };
    expect([name, seen]).toEqual([name, { statuses: [400], closed: true, isHiddenSeen: false }]);
  }
  expect(await metric(url, "amper_sessions")).toBe(0);
});

test("what all read alike is served, and the next request on the connection too", async () => {
  const { url } = await launch();
  for (const sent of [
    post(["Content-Length: 5"], "hello"),
    post(["Transfer-Encoding: chunked"], chunks),
    post(["Transfer-Encoding: Chunked"], "5;a=b\r\nhello\r\n0\r\n\r\n"),
    request("GET /health/live", ["Content-Length: 5"], "hello"),
    // The body of a request that has no use for one is not the next request.
    request("GET /health/ready", [`Content-Length: ${hidden.length}`], hidden),
    request("POST /nowhere", [`Content-Length: ${hidden.length}`], hidden),
    // Another header, whatever a sloppy reader takes it for.
    post(["Transfer_Encoding: chunked", "Content-Length: 5"], "hello"),
    request("OPTIONS /health/live", ["Content-Length: 5"], "hello"),
  ]) {
    const { answers, text } = await talk(url, sent + hidden, { enough: 2 });
    expect([sent, answers.length, answers[1]?.body]).toEqual([sent, 2, '{"status":"live"}']);
    expect(text.match(/HTTP\/1.1 /g)).toHaveLength(2);
  }
});

test("an address that names another host is one of this host, and no way around a key", async () => {
  const { url } = await launch();
  const { answers } = await talk(url, request("GET http://evil.example/connections", []));
  expect(answers[0]?.status).toBe(401);
});

test("a length given twice does not get past the limit: nothing of the body is waited for", async () => {
  const { url } = await launch();
  const huge = ["Content-Length: 100000000", "Content-Length: 100000000"];
  for (const start of ["POST /notify", "POST /socket.io/?EIO=4&transport=polling&sid=x"]) {
    const { answers, closed } = await talk(url, request(start, [...huge, `X-API-Key: ${apiKey}`]), {
      enough: Infinity,
    });
    expect([start, answers.map(({ status }) => status), closed]).toEqual([start, [400], true]);
  }
});
