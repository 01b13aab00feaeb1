import { expect, test } from "bun:test";
import { connect } from "node:net";
import { until } from "./support/raw.ts";
import { apiKey, start } from "./support/service.ts";

const head = "POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

test("who always has a request under way, on connections that are open, does not keep a service that is to stop", async () => {
  const service = await start();
  const body = JSON.stringify({ API_KEY: apiKey, msg: 1, channel: "msf" });
  const begin = `${head}Content-Length: ${body.length}\r\n\r\n${body.slice(0, -1)}`;
  const received = ["", ""];
  const sockets = received.map((_, i) => {
    const socket = connect(Number(new URL(service.url).port), "127.0.0.1");
    // Whenever the other has been answered, this one finishes its request, and begins the next in the same step.
    socket.on("data", (chunk: Buffer) => {
      received[i] += chunk.toString("latin1");
      sockets[1 - i]?.write(`}${begin}`);
    });
    socket.on("error", () => {});
    return socket;
  });
  for (const socket of sockets) socket.write(begin);
  await until("both are under way", () => sockets.every(({ bytesWritten }) => bytesWritten >= begin.length));
  sockets[0]?.write(`}${begin}`);
  await until("they go on by turns", () => received.join("").split("HTTP/1.1 200").length > 10);
  const stopped = service.stop();
  await until("the first is told", () => received.join("").includes("HTTP/1.1 503"));
  expect(await stopped).toBe(true);
  for (const socket of sockets) socket.destroy();
});
