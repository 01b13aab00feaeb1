import { expect, test } from "bun:test";
import { createLog, type Log } from "../src/observe/log.ts";
import type { Line } from "./support/log-reader.ts";

/** A log whose clock stands still until it is moved, and what it wrote. */
function setUp(isSecret?: (word: string) => boolean) {
  const written: Line[] = [];
  let now_ms = 0;
  const sink = { write: (line: string) => void written.push(JSON.parse(line)), flush: async () => {} };
  const log: Log = createLog("info", () => now_ms, isSecret, sink);
  const usersOf = () => written.map(({ keycloakID }) => keycloakID);
  return { log, written, usersOf, pass: (by_ms: number) => void (now_ms += by_ms) };
}

const times = (count: number, run: () => void): void => {
  for (let i = 0; i < count; i++) run();
};

test("an event has twenty lines in a second, and then says how many were left out", () => {
  const { log, written, pass } = setUp();
  times(1000, () => log.info("connected"));
  expect(written).toHaveLength(20);
  pass(1000);
  log.info("connected");
  expect(written.at(-1)).toMatchObject({ event: "connected", suppressed: 980 });
  log.info("connected");
  expect(written.at(-1)).not.toHaveProperty("suppressed");
});

test("one user who comes back again and again does not hide the others", () => {
  const { log, written, usersOf } = setUp();
  const connect = (keycloakID: string) => log.info("connected", { keycloakID }, keycloakID);
  times(1000, () => connect("loud"));
  for (const user of ["alice", "bob", "alice"]) connect(user);
  expect(usersOf().slice(-2)).toEqual(["alice", "bob"]);
  expect(usersOf().filter((user) => user === "loud")).toHaveLength(15);
  for (let i = 0; i < 1000; i++) connect(`user ${i}`);
  expect(written).toHaveLength(20);
});

test("somebody who was heard in an earlier second is heard again", () => {
  const { log, usersOf, pass } = setUp();
  for (let second = 0; second < 3; second++) {
    times(100, () => log.info("connected", { keycloakID: "loud" }, "loud"));
    log.info("connected", { keycloakID: "alice" }, "alice");
    pass(1000);
  }
  expect(usersOf().filter((user) => user === "alice")).toHaveLength(3);
});

test("events do not share their lines", () => {
  const { log, written } = setUp();
  times(100, () => log.info("connected"));
  log.info("disconnected");
  expect(written.at(-1)).toMatchObject({ event: "disconnected" });
});

test("a list ends where it gets too long, with the number of what is left out", () => {
  const { log, written } = setUp();
  const all = Array.from({ length: 1000 }, (_, i) => `26259ede-5be8-4a5c-9c1d-${String(i).padStart(12, "0")}`);
  log.info("notified", { keycloak: all, channel: ["msf"], offline: [] });
  log.info("notified", { keycloak: ["x".repeat(5000)] });
  const [line, other] = written;
  expect(line).toMatchObject({ channel: ["msf"], offline: [], keycloak: [...all.slice(0, 56), "and 944 more"] });
  expect(other).toMatchObject({ keycloak: ["and 1 more"] });
});

test("a known secret is not written, in whatever field somebody put it", () => {
  const { log, written } = setUp((word) => word === "s3cr.et:");
  log.info("notified", {
    keycloakID: "s3cr.et:",
    keycloak: ["alice", "s3cr.et:"],
    reason: "This key may not notify b2b, s3cr.et:, msf, s3cr.et:.",
    whole: "s3cr.et:s3cr.et:",
  });
  expect(written).toMatchObject([
    {
      keycloakID: "(secret)",
      keycloak: ["alice", "(secret)"],
      reason: "This key may not notify b2b, (secret), msf, (secret)",
      whole: "s3cr.et:s3cr.et:",
    },
  ]);
});
