import { expect, test } from "bun:test";
import { launch } from "./support/binary.ts";
import { authorize, connected, next, notify } from "./support/client.ts";
import { describeFaketime, settableClock } from "./support/faketime.ts";
import { folder } from "./support/folder.ts";
import { metric, until } from "./support/raw.ts";

describeFaketime("the executable, whose wall clock is set beyond the end of everybody's tokens", () => {
  test.each([11 * 3600, 40 * 86_400])(
    "by %d s: a page with a plain auth comes back when it is set right",
    async (ahead) => {
      const clock = settableClock(folder());
      const { url } = await launch({ env: { ...clock.env, AMPER_CONNECT_TIMEOUT_MS: "500" } });
      const { token } = await authorize(url);
      const { socket, count } = await connected(url, "alice", "msf", { token });
      const refusals: unknown[] = [];
      socket.on("connect_error", (error) => refusals.push(error));
      clock.set(ahead);
      socket.io.engine.close();
      await until("it was sent away twice", async () => (await metric(url, "amper_connections_postponed_total")) >= 2);
      await notify(url, { msg: "meanwhile", keycloak: "alice" });
      const back = next(socket, "connect");
      clock.set(0);
      await back;
      expect([socket.recovered, await count(1), refusals]).toEqual([true, ["meanwhile"], []]);
    },
  );
});
