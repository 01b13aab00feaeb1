import { expect, test } from "bun:test";
import { authorize, connected, next, page, transports } from "./support/client.ts";
import { start } from "./support/service.ts";

for (const [name, options] of Object.entries(transports)) {
  test(`a channel that is not configured is refused for good to any token, ${name}`, async () => {
    const { url } = await start({}, { toml: "[channels.msf]" });
    const { token, channels } = await authorize(url);
    expect(channels).toBe("*");
    await connected(url, "alice", "msf", { ...options, token });
    const { socket } = page(url, { token, keycloakID: "alice", channel: "b2b" }, options);
    const connects: unknown[] = [];
    socket.on("connect", () => connects.push("connect"));
    expect(await next(socket, "connect_error")).toMatchObject({ data: { code: "channel_forbidden" } });
    expect(connects).toEqual([]);
  });
}
